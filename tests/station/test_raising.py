"""A limit that officers have raised: the station brings their act when the registry says that the order is used up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.database import Database, sqlite_url
from registry.errors import RefusedError
from registry.orders.service import OrderService
from registry.pins.service import PinService
from station.cloud import CloudRefusedError, PinRecord
from station.jobs import RecordKind
from station.outbox import Outbox
from station.raising import RaisingCloud, bring_raises
from tests import empty
from tests.registry.approved import ADA, BEN, approved, approved_world
from tests.registry.make import Device, World
from tests.registry.test_order_counts import ACTS_NOW, few, raising
from tests.station import ledgerkit as kit
from tests.station.test_outbox import FakeTime
from tests.trust.people import approved_by
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.statement import envelope


class LocalRegistry:
    """A real registry without HTTP."""

    def __init__(self, made: World, database: Database) -> None:
        self.pins = PinService(database, made.trusted, made.signer())
        self.orders = OrderService(database, made.trusted, now=lambda: ACTS_NOW)
        self.brought: list[Envelope] = []

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        try:
            held = self.pins.pin(device, statement, order)
        except RefusedError as error:
            raise CloudRefusedError(error.code, str(error)) from error
        return PinRecord(state=held.state, statement=held.pin.statement, receipt=held.pin.receipt)

    async def raise_limit(self, act: Envelope) -> None:
        self.brought.append(act)
        try:
            self.orders.raise_limit(self.orders.approved(act), act)
        except RefusedError as error:
            raise CloudRefusedError(error.code, str(error)) from error


async def one_too_many(directory: Path, act: Envelope | None, made: World) -> tuple[LocalRegistry, list[int]]:
    """Two units, of which the order alone would allow one; what still waited after each pass of the outbox."""
    empty.registry_database(directory / "registry.db")
    database = Database.open(sqlite_url(directory / "registry.db"))
    registry, store, time = LocalRegistry(made, database), kit.store_at(directory / "station.db", made), FakeTime()
    await store.keep_order(approved(made))
    if act is not None:
        await store.keep_paper(act)
    for _ in range(2):
        device = await kit.open_as(store, made, Device())
        pin = made.pin(device, order_signed=True)
        await store.record(device.job, RecordKind.INTENT, kit.unsigned(pin))
        await store.record(device.job, RecordKind.PIN, pin)
    outbox = Outbox(
        store, registry, root=made.trusted, stamp=kit.stamp(made), stop_line=print, pace=time.pace()  # type: ignore[arg-type]
    )  # fmt: skip
    waited = []
    for _ in range(3):
        waited.append((await outbox._drain(patient=True)).waiting)
        time.now += 61.0
    await store.close()
    database.close()
    return registry, waited


@pytest.fixture(scope="module")
def made() -> World:
    return few(approved_world(), station_01=(1, 0))


def test_what_officers_allowed_is_brought_and_the_pin_is_taken(tmp_path: Path, made: World) -> None:
    act = act_of(made, 5)
    registry, waited = kit.run(one_too_many(tmp_path, act, made))
    assert waited == [0, 0, 0]
    assert registry.brought == [act], "only when the order is used up, and no more once it is not"


def test_without_such_an_act_the_statement_waits_for_somebody(tmp_path: Path, made: World) -> None:
    registry, waited = kit.run(one_too_many(tmp_path, None, made))
    assert (waited, registry.brought) == ([1, 1, 1], [])


def test_an_act_that_the_registry_does_not_take_changes_nothing(tmp_path: Path, made: World) -> None:
    act = approved_by(envelope(raising(made, 5)), ADA)
    registry, waited = kit.run(one_too_many(tmp_path, act, made))
    assert waited == [1, 1, 1] and registry.brought


def act_of(made: World, units: int) -> Envelope:
    return approved_by(envelope(raising(made, units)), ADA, BEN)


def test_acts_of_other_orders_and_of_other_kinds_stay_here(tmp_path: Path, made: World) -> None:
    brought: list[Envelope] = []

    class Cloud:
        async def raise_limit(self, act: Envelope) -> None:
            brought.append(act)

    class Jobs:
        async def papers(self, _order_id: str) -> tuple[Envelope, ...]:
            other = envelope(raising(made, 5, order_sha256="ab" * 32))
            return (other, envelope(raising(made, 5, kind="accept-surplus")), made.order_envelope, act)

    act = act_of(made, 1)
    assert isinstance(Cloud(), RaisingCloud)
    jobs: Any = Jobs()
    assert kit.run(bring_raises(jobs, Cloud(), approved(made)))
    assert brought == [act]
    assert not kit.run(bring_raises(jobs, object(), approved(made)))
