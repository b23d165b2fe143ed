"""Scrap carried from registry to signer: verified, on record first, and no reason to stop when the registry is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import Fault
from station.scrapping import Carried, carry_scrap
from tests.hsm.floor import Device
from tests.hsm.leased import Leased
from trust.codes import Code
from trust.dsse import Envelope


@dataclass(slots=True)
class Told:
    """A registry that tells these pages, a signer and a ledger that remember; `events` in their order."""

    pages: list[tuple[Envelope, ...]]
    raises: Exception | None = None
    events: list[tuple[str, str]] = field(default_factory=list)

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        if self.raises is not None:
            raise self.raises
        number = 0 if page == "first" else int(page, 16)
        return self.pages[number], None if number + 1 == len(self.pages) else f"{number + 1:064x}"

    async def keep_paper(self, paper: Envelope) -> None:
        self.events.append(("kept", paper.payload_sha256))


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
    return asyncio.run(carry_scrap(orders, signer, told, plant.trusted, told))


def test_every_page_is_on_record_before_the_signer_knows_it(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    devices = [Device() for _ in range(3)]
    for each in devices:
        plant.pin(floor, each)
    papers = [plant.revocation(floor, each) for each in devices]
    told = Told([(papers[0], papers[1]), (papers[2],)])
    for _ in range(2):  # again, as after a crash
        carry(plant, told)
    wanted = [(what, each.payload_sha256) for each in papers for what in ("kept", "told")]
    assert told.events == wanted * 2
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
        "registry-wrong", [("kept", good.payload_sha256), ("told", good.payload_sha256)],
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


def test_a_registry_that_is_away_or_knows_no_such_order_stops_no_line(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    plant.pin(floor)
    assert carry(plant, Told([], CloudUnreachableError("away"))).away == "away"
    assert carry(plant, Told([], CloudRefusedError(Code.ORDER_UNKNOWN, "nothing pinned"))) == Carried()
