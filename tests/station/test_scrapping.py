"""Scrap carried from registry to signer: verified, on record first, and no reason to stop when the registry is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import Fault
from station.scrapping import carry_scrap
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


def carry(plant: Leased, told: Told) -> None:
    signer: Any = Taking(told, plant.factory)
    orders = plant.factory.status().orders
    asyncio.run(carry_scrap(orders, signer, told, plant.trusted, told))


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


@pytest.mark.parametrize("changes", [{"registry": "reg-99"}, {"environment": "plant-9"}])
def test_a_revocation_of_others_stops_the_line_and_is_not_kept(plant: Leased, changes: dict[str, str]) -> None:
    floor, device = plant.floor(plant.order()), Device()
    plant.renew()
    plant.pin(floor, device)
    told = Told([(plant.revocation(floor, device, **changes),)])
    with pytest.raises(Fault) as caught:
        carry(plant, told)
    assert (caught.value.code, told.events) == ("registry-wrong", [])


def test_a_revoked_key_is_not_for_the_signer(plant: Leased) -> None:
    floor, device = plant.floor(plant.order()), Device()
    plant.renew()
    plant.pin(floor, device)
    with pytest.raises(Fault):
        carry(plant, Told([(plant.revocation(floor, device, cause="revoked"),)]))
    assert not plant.factory.signatory.counters.scrapped(str(device.device_id))


def test_a_registry_that_is_away_or_knows_no_such_order_stops_no_line(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    plant.renew()
    plant.pin(floor)
    for error in (CloudUnreachableError("away"), CloudRefusedError(Code.ORDER_UNKNOWN, "nothing pinned")):
        carry(plant, Told([], error))
