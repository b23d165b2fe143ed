"""Counts and limits edited in the database itself: the check recomputes each from what it counts, and names it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from registry.checking.findings import findings
from registry.database import Database
from registry.orders.service import OrderService
from tests.registry.asking import Asking
from tests.registry.living import WHO, Living, confirmed, living
from tests.trust.people import approved_by
from tests.trust.pin_acts import NOW, utc
from trust.act import Act
from trust.statement import envelope

pytestmark = pytest.mark.both_databases
ORDER = {
    "pins": "UPDATE order_counts SET pins = 0",
    "pin_limit": "UPDATE order_counts SET pin_limit = pin_limit + 100000",
    "completions": "UPDATE order_counts SET completions = 0",
    "completion_limit": "UPDATE order_counts SET completion_limit = completion_limit + 100000",
    "scrapped": "UPDATE order_counts SET scrapped = 55555",
    "station": "UPDATE order_counts SET station = 'station-09'",
    "gone": "DELETE FROM order_counts",
    "a raise": "DELETE FROM order_raises",
}
STATION = {
    "pins": "UPDATE station_counts SET pins = 0",
    "up_to": "UPDATE station_counts SET up_to = up_to + 1",
    "as many as were let in": "UPDATE station_counts SET up_to = 600, pins = 600",
    "station": "UPDATE station_counts SET station = 'station-09'",
    "reported_before": "UPDATE station_counts SET reported_before = '2999-01-01T00:00:00.000Z'",
    "gone": "DELETE FROM station_counts",
}
TRIGGERS = {
    "sqlite": "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal",
}


def as_owner(database: Database, *statements: str) -> None:
    """As who owns the tables: no trigger stands in the way."""
    sqlite = database.engine.dialect.name == "sqlite"
    with database.write() as connection:
        for name, table in connection.execute(text(TRIGGERS[database.engine.dialect.name])).all():
            connection.execute(text(f"DROP TRIGGER {name}" if sqlite else f"DROP TRIGGER {name} ON {table}"))
        for each in statements:
            assert connection.execute(text(each)).rowcount > 0, each


def named(database: Database, world: Any, now: Any) -> set[str]:
    return {each.table for each in findings(database, world.trusted, now)}


@pytest.fixture
def site(database: Database) -> Living:
    """Finished devices, one of them scrapped and taken back, one that was not; officers have raised what may be pinned."""
    made = living(database)
    back, burned = made.device(), made.device(active=False)
    made.acts.do(back.device_id, "scrap", made.act(back, "scrap"))
    made.acts.do(back.device_id, "unscrap", made.act(back, "unscrap", was="scrapped"))
    made.acts.do(back.device_id, "scrap", made.act(back, "scrap"))
    made.acts.do(burned.device_id, "scrap", made.act(burned, "scrap", WHO["pia"], was="provisional"), confirmed)
    made.device()
    act = Act(
        environment="demo", root_sha256=made.made.trusted.sha256, signer="station-01", kind="raise-allowance",
        reason="spilt a tray of units", order_id=made.made.order.order_id,
        order_sha256=made.made.order_envelope.payload_sha256, units=3, nonce="ab" * 32,
        made_at=utc(NOW), not_after=utc(NOW + timedelta(days=1)),
    )  # fmt: skip
    approved = approved_by(envelope(act), WHO["ada"], WHO["ben"])
    orders = OrderService(database, made.made.trusted, now=lambda: made.now)
    (counted,) = orders.raise_limit(orders.approved(approved), approved)
    assert (counted.pins, counted.completions, counted.scrapped) == (3, 2, 1)
    return made


def test_control_counts_as_they_are(site: Living) -> None:
    assert named(site.database, site.made, site.now) == set()


@pytest.mark.parametrize("edit", ORDER)
def test_an_edit_of_an_orders_counts_is_named(site: Living, edit: str) -> None:
    as_owner(site.database, ORDER[edit])
    assert named(site.database, site.made, site.now) == {"order_counts"}


def test_a_count_that_began_anew_is_named(site: Living) -> None:
    as_owner(site.database, ORDER["gone"])
    site.device()
    found = list(findings(site.database, site.made.trusted, site.now))
    assert any("pins is 1, order and rows say 4" in str(each) for each in found)


@pytest.fixture
def asking(database: Database) -> Asking:
    made = Asking.make(database)
    made.renew()
    made.renew(*made.pin(3))
    made.pin(1)
    with database.write() as connection:
        connection.execute(text("UPDATE station_counts SET pins = (SELECT count(*) FROM pins)"))
    return made


def test_control_a_stations_counts_as_they_are(asking: Asking) -> None:
    assert "station_counts" not in named(asking.database, asking.made, asking.now)


@pytest.mark.parametrize("edit", STATION)
def test_an_edit_of_a_stations_counts_is_named(asking: Asking, edit: str) -> None:
    as_owner(asking.database, STATION[edit])
    assert "station_counts" in named(asking.database, asking.made, asking.now)


def test_more_pins_than_leases_ever_allowed_are_named_though_all_counts_agree(asking: Asking) -> None:
    """A limit was raised, and used: pins and limit are the same number again."""
    with asking.database.write() as connection:
        granted = connection.execute(text("SELECT up_to FROM station_counts")).scalar_one()
    asking.pin(granted)
    as_owner(asking.database, f"UPDATE station_counts SET up_to = {granted + 4}, pins = {granted + 4}")
    assert any("up_to is" in str(each) for each in findings(asking.database, asking.made.trusted, asking.now))
