"""A pin that its signer never reported is named at every later request, and looking for one costs the same for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, event

from registry.database import Database
from registry.errors import RefusedError
from registry.leases import store
from tests.registry.asking import STATION, Asking
from tests.registry.make import Device
from trust.codes import Code

UNITS = 500
Work = Callable[[Callable[[], object]], int]


@pytest.fixture
def asking(database: Database) -> Asking:
    return Asking.make(database)


@pytest.fixture
def work(database: Database) -> Work:
    """The thousands of steps of SQLite's machine that a call makes."""
    ticks: list[None] = []

    def count(connection: Connection) -> None:
        dbapi = connection.connection.dbapi_connection
        assert dbapi is not None
        dbapi.set_progress_handler(lambda: ticks.append(None), 1000)

    event.listen(database.engine, "begin", count)

    def made_by(call: Callable[[], object]) -> int:
        ticks.clear()
        call()
        return len(ticks)

    return made_by


def named(asking: Asking, *pins: bytes) -> str:
    """What the registry says to the next request."""
    with pytest.raises(RefusedError) as caught:
        asking.leases.grant(asking.sealed(asking.request(*pins)))
    assert caught.value.code is Code.LEASE_CONFLICT
    return str(caught.value)


def after(asking: Asking, leases: int, work: Work) -> tuple[int, int]:
    """So many leases, each for what was pinned under the one before: the work of the third, and of the last."""
    asking.renew()
    made = []
    for _ in range(leases):
        pins = asking.pin(UNITS)
        made.append(work(lambda pins=pins: asking.renew(*pins)))  # type: ignore[misc]
    return made[2], made[-1]


@pytest.mark.timeout(120)  # 40,000 rows, each past its triggers
def test_a_grant_costs_the_same_beside_40000_pins_and_names_the_one_that_is_missing(asking: Asking, work: Work) -> None:
    third, last = after(asking, 80, work)
    assert asking.made_pins == 80 * UNITS
    assert last <= 1.2 * third
    (missing,) = asking.pin(1)
    for _ in range(3):  # the signer says that it has one left
        asking.renew(left=1)
    device = f"{int.from_bytes(missing, 'big'):024x}"
    for _ in range(3):
        assert work(lambda: named(asking)) <= 1.2 * third
        assert f"of {device}, which carry" in named(asking)
        asking.now += timedelta(days=1)
    asking.renew(missing)
    asking.renew()


def test_control_without_the_mark_every_grant_reads_all_pins(
    asking: Asking, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "examined", lambda *_: None)
    third, last = after(asking, 16, work)
    assert last > 1.2 * third


def test_a_few_are_named_of_many(asking: Asking) -> None:
    asking.renew()
    asking.pin(20)
    asking.now += timedelta(hours=1)
    asking.renew(left=20)
    said = named(asking)
    assert said.count("0" * 22) == 3
    assert "of 000000000000000000000000, 000000000000000000000001, 000000000000000000000002 and more, which" in said
    assert "and more" in named(asking)


def test_a_pin_of_before_the_first_lease_is_asked_for_too(asking: Asking) -> None:
    asking.pin(1)
    asking.now += timedelta(hours=1)
    asking.renew()
    assert "0" * 24 in named(asking)


@pytest.mark.parametrize("hours", [0, 1, 5])
def test_a_pin_that_came_while_the_clock_was_set_back_is_named(asking: Asking, hours: int) -> None:
    """At a time whose pins were looked at before."""
    start = asking.now
    for _ in range(8):
        asking.renew(*asking.pin(1))
    late, asking.now = asking.now, start + timedelta(hours=hours)
    device = Device()
    asking.pins.pin(device.device_id, asking.made.pin(device), asking.made.order_envelope)
    asking.now = late
    for _ in range(2):
        assert f"of {device.device_id}, which carry" in named(asking)


def test_a_pin_of_another_station_is_its_own_affair(asking: Asking, database: Database) -> None:
    asking.pin(1)
    with database.read() as connection:
        assert store.unreported(connection, STATION, before="2027", most=9) == [("0" * 24, "2026-11-22T20:00:00.000Z")]
        assert store.unreported(connection, "station-02", before="2027", most=9) == []
