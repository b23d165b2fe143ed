"""Order counts in the schema: what earlier versions had pinned is counted, and no count falls or goes beyond its limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from registry import schema
from registry.database import Database, sqlite_url
from tests.registry.make import Device, World, world

COUNTED = ("o" * 64, "st-01", 2, 505, 1, 500, 0)
FALLS = [
    *(f"UPDATE order_counts SET {column} = {column} - 1" for column in ("pins", "pin_limit", "completions")),
    *(f"UPDATE order_counts SET {column} = {column} + 1" for column in ("completion_limit",)),
    "UPDATE order_counts SET scrapped = 1; UPDATE order_counts SET scrapped = 0",
    "UPDATE order_counts SET station = 'st-02'",
    "DELETE FROM order_counts",
    f"REPLACE INTO order_counts VALUES ('{'o' * 64}', 'st-01', 0, 505, 0, 500, 0)",
]


@pytest.fixture
def outsider(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """As anybody opens the file: none of our settings."""
    database = Database.open(sqlite_url(tmp_path / "registry.db"))
    schema.upgrade(database)
    database.close()
    with closing(sqlite3.connect(tmp_path / "registry.db", isolation_level=None)) as opened:
        opened.execute("INSERT INTO order_counts VALUES (?, ?, ?, ?, ?, ?, ?)", COUNTED)
        yield opened


@pytest.mark.parametrize("statement", FALLS)
def test_an_orders_count_never_falls(statement: str, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"counts never fall|order_counts stay"):
        outsider.executescript(statement)


@pytest.mark.parametrize("statement", FALLS)
def test_control_without_the_triggers_a_count_falls(statement: str, outsider: sqlite3.Connection) -> None:
    for name in ("no_delete", "never_fall", "no_replace"):
        outsider.execute(f"DROP TRIGGER order_counts_{name}")
    outsider.executescript(statement)


def test_no_count_goes_beyond_its_limit(outsider: sqlite3.Connection) -> None:
    outsider.execute("UPDATE order_counts SET pins = 505, completions = 500")
    with pytest.raises(sqlite3.IntegrityError, match="within_allotment"):
        outsider.execute("UPDATE order_counts SET pins = 506")
    with pytest.raises(sqlite3.IntegrityError, match="within_quantity"):
        outsider.execute("UPDATE order_counts SET completions = 501")
    outsider.execute("UPDATE order_counts SET completions = 501, scrapped = 1, pin_limit = 506, pins = 506")


def test_what_was_pinned_before_counts_were_kept_is_counted(tmp_path: Path) -> None:
    made = world()
    database = Database.open(sqlite_url(tmp_path / "registry.db"))
    with database.write() as connection:
        command.upgrade(schema._config(connection), "0002")
        assert not connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'order_counts'").all()
    _store(database, made)
    schema.upgrade(database)
    with database.read() as connection:
        counted = connection.exec_driver_sql("SELECT * FROM order_counts ORDER BY station").all()
    database.close()
    order = made.order_envelope.payload_sha256
    assert [tuple(each) for each in counted] == [
        (order, "station-01", 3, 505, 1, 500, 0),
        (order, "station-02", 1, 505, 0, 500, 0),
        (order, "station-03", 1, 1, 0, 0, 0),  # not of the order: nothing more, and never fewer than there are
    ]


def _store(database: Database, made: World) -> None:
    order = made.order_envelope
    with database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO orders VALUES (?, ?, ?)", (order.payload_sha256, "order-7", order.to_json())
        )
        for number, station in enumerate(["station-01"] * 3 + ["station-02", "station-03"]):
            device = str(Device().device_id)
            row = (device, station, f"{number:032}", f"{number:064}", None, "order-7", order.payload_sha256, b"{}")
            connection.exec_driver_sql(
                "INSERT INTO pins VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, f"{number:064}", "2026-11-22T20:00:00Z"),
            )
            if number == 0:
                done = (device, f"{number:064}", b"{}", "c" * 64, "2026-11-22T20:00:00Z")
                connection.exec_driver_sql("INSERT INTO completions VALUES (?, ?, ?, ?, ?)", done)
