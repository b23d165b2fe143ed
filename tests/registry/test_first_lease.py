"""A station's first lease, and pins that another process takes at that moment under a root without leases: all count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Connection, select

from registry.database import Database
from registry.leases import store
from registry.pins.checks import check_pin
from registry.pins.intake import Intake
from registry.pins.service import PinService
from registry.tables import station_counts
from tests.registry.asking import STATION, Asking
from tests.registry.make import Device, world
from tests.registry.postgres import Server
from trust.dsse import Envelope


def counted(database: Database) -> tuple[int, int]:
    """Pins and limit of the station."""
    with database.read() as connection:
        row = connection.execute(select(station_counts).where(station_counts.c.station == STATION)).one()
    return row.pins, row.up_to


@pytest.mark.both_databases
def test_pins_taken_under_a_root_without_leases_count_and_move_the_limit(database: Database) -> None:
    asking = Asking.make(database)
    asking.renew()
    assert counted(database) == (0, 500)
    old = world()
    service = PinService(database, old.trusted, old.signer())
    for number in range(1, 4):
        device = Device()
        service.pin(device.device_id, old.pin(device), old.order_envelope)
        assert counted(database) == (number, 500)
    with database.write() as connection:
        store.count_without_lease(connection, STATION, 600)
    assert counted(database) == (603, 603)


@pytest.fixture
def two(postgres: Server) -> Iterator[tuple[Database, Database]]:
    """One database as two processes have it."""
    url = postgres.url(postgres.migrated())
    opened = Database.open(url), Database.open(url)
    yield opened
    for each in opened:
        each.close()


class Halfway:
    """A pin under a root without leases, inserted and counted, whose transaction is not committed yet."""

    def __init__(self, database: Database, pool: ThreadPoolExecutor) -> None:
        self.database, self.old = database, world()
        self.inserted, self.may_commit = Event(), Event()
        self.done: Future[None] = pool.submit(self._run)
        assert self.inserted.wait(10)

    def _run(self) -> None:

        device = Device()
        checked = check_pin(self.old.trusted, device.device_id, self.old.pin(device), self.old.order_envelope)
        with self.database.write() as connection:
            Intake(self.old.trusted).pins(connection, [checked], "2026-11-22T20:00:00.000Z")
            self.inserted.set()
            assert self.may_commit.wait(10)


def first_lease(two: tuple[Database, Database]) -> tuple[tuple[int, int], bool]:
    """What is counted after a first lease beside a pin that is halfway, and whether the lease waited for the pin."""
    asking = Asking.make(two[0])
    with ThreadPoolExecutor(2) as pool:
        pin = Halfway(two[1], pool)
        lease: Future[Envelope] = pool.submit(asking.renew)
        time.sleep(0.3)
        waited = not lease.done()
        pin.may_commit.set()
        pin.done.result(10)
        lease.result(10)
    return counted(two[0]), waited


def test_a_first_lease_waits_for_a_pin_that_is_halfway_and_counts_it(two: tuple[Database, Database]) -> None:
    assert first_lease(two) == ((1, 500), True)


def test_control_without_the_turn_the_pin_is_not_counted(
    two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_turn(_connection: Connection, _turn: object, *, shared: bool = False) -> None:
        del shared

    monkeypatch.setattr(store, "take_turn", no_turn)
    assert first_lease(two) == ((0, 500), False)
