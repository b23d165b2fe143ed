"""Scrap carried from registry to signer: verified, on record first, and no reason to stop when the registry is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import Fault
from station.jobs.counts import Tally
from station.jobs.stamp import Stamp
from station.scrap.told import TOLD, Carried, carry_scrap
from tests.hsm.floor import Device
from tests.hsm.leased import Leased
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Event


@dataclass(slots=True)
class Told:
    """A registry that tells these pages, a signer and a ledger that remember; `events` in their order."""

    pages: list[tuple[Envelope, ...]]
    raises: Exception | None = None
    events: list[tuple[str, str]] = field(default_factory=list)
    knows: set[str] = field(default_factory=set)
    finished: int = 0

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        if self.raises is not None:
            raise self.raises
        number = 0 if page == "first" else int(page, 16)
        return self.pages[number], None if number + 1 == len(self.pages) else f"{number + 1:064x}"

    async def keep_paper(self, paper: Envelope) -> None:
        self.events.append(("kept", paper.payload_sha256))

    async def note(self, event: Event) -> None:
        assert event.kind == TOLD
        self.events.append(("noted", event.details["revocation_sha256"]))
        self.knows.add(event.device_id)

    async def devices_told_of(self, kind: str) -> frozenset[str]:
        assert kind == TOLD
        return frozenset(self.knows)

    async def scrapped_tally(self, order_id: str) -> Tally:
        return Tally(active=self.finished)


@dataclass(slots=True)
class Taking:
    """A signer's one verb, waited for."""

    told: Told
    verbs: Any

    async def import_revocation(self, revocation: Envelope) -> None:
        self.verbs.import_revocation(revocation)
        self.told.events.append(("told", revocation.payload_sha256))


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path)


def carry(plant: Leased, told: Told) -> Carried:
    signer: Any = Taking(told, plant.factory)
    orders = plant.factory.status().orders
    stamp = Stamp(station="st-01", environment="demo", root_sha256=plant.trusted.sha256)
    return asyncio.run(carry_scrap(orders, signer, told, plant.trusted, told, stamp=stamp))


def test_every_page_is_on_record_before_the_signer_knows_it(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    devices = [Device() for _ in range(3)]
    for each in devices:
        plant.pin(floor, each)
    papers = [plant.revocation(floor, each) for each in devices]
    told = Told([(papers[0], papers[1]), (papers[2],)])
    for _ in range(2):
        carry(plant, told)
    wanted = [(what, each.payload_sha256) for each in papers for what in ("kept", "told", "noted")]
    assert told.events == wanted, "what was told is not told again"
    told.finished = 1
    carry(plant, told)
    again = [(what, each.payload_sha256) for each in papers for what in ("kept", "told")]
    assert told.events == wanted + again, (
        "the signer has counted fewer out than the ledger: it was put back from a copy"
    )
    assert all(plant.factory.signatory.counters.scrapped(str(each.device_id)) for each in devices)


@pytest.mark.parametrize("changes", [{"registry": "reg-99"}, {"environment": "plant-9"}, {"cause": "revoked"}])
def test_a_revocation_of_others_or_of_a_key_stops_the_line_and_only_itself_is_not_kept(
    plant: Leased, changes: dict[str, str]
) -> None:
    floor, device, after = plant.floor(plant.order()), Device(), Device()
    plant.renew()
    for each in (device, after):
        plant.pin(floor, each)
    good = plant.revocation(floor, after)
    told = Told([(plant.revocation(floor, device, **changes), good)])
    with pytest.raises(Fault) as caught:
        carry(plant, told)
    assert (caught.value.code, told.events) == (
        "registry-wrong", [(what, good.payload_sha256) for what in ("kept", "told", "noted")],
    )  # fmt: skip


def test_a_unit_that_another_station_pinned_and_scrapped_stops_no_batch(plant: Leased) -> None:
    """Signed for here while the WAN was down; pinned there under another job, and scrapped: the finding of a review."""
    floor, device, after = plant.floor(plant.order()), Device(), Device()
    plant.renew()
    plant.factory.sign_pin(floor.pin(device))
    plant.pin(floor, after)
    papers = (plant.revocation(floor, device, job="5a" * 16), plant.revocation(floor, after))
    for _ in range(2):
        assert carry(plant, Told([papers])) == Carried()
    assert all(plant.factory.signatory.counters.scrapped(str(each.device_id)) for each in (device, after))


def test_a_revocation_that_the_signer_does_not_take_keeps_no_other_from_it(plant: Leased) -> None:
    floor, device, after = plant.floor(plant.order()), Device(), Device()
    plant.renew()
    for each in (device, after):
        plant.pin(floor, each)
    far = plant.revocation(floor, device, revoked_at="2126-01-01T00:00:00Z")  # a clock was wrong
    told = Told([(far, plant.revocation(floor, after))])
    (why,) = carry(plant, told).not_taken
    assert why.startswith(str(device.device_id))
    assert plant.factory.signatory.counters.scrapped(str(after.device_id))
    assert ("kept", far.payload_sha256) in told.events
    assert str(device.device_id) not in told.knows, "it is told again before the next batch"


def test_there_is_no_last_page_but_the_registrys_and_none_comes_again(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    device = Device()
    plant.pin(floor, device)
    told = Told([*(() for _ in range(1500)), (plant.revocation(floor, device),)])
    carry(plant, told)
    assert plant.factory.signatory.counters.scrapped(str(device.device_id))

    class Turning(Told):
        async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
            return (), "ab" * 32 if page == "cd" * 32 else "cd" * 32

    with pytest.raises(Fault) as caught:
        carry(plant, Turning([]))
    assert caught.value.code == "registry-wrong"


def test_a_registry_that_is_away_or_knows_no_such_order_stops_no_line(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    plant.pin(floor)
    assert carry(plant, Told([], CloudUnreachableError("away"))).away == "away"
    assert carry(plant, Told([], CloudRefusedError(Code.ORDER_UNKNOWN, "nothing pinned"))) == Carried()
