"""The registry's schema, asked of the database and not of the classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, inspect
from sqlalchemy.exc import IntegrityError

from ledger.durable import READING
from registry import schema
from registry.database import Database, sqlite_url
from registry.failures import DatabaseError
from registry.tables import APPEND_ONLY, SWEPT, metadata

ROWS = {
    "orders": ("o" * 64, "order-7", b"{}"),
    "pins": (
        "ab" * 12,
        "st-01",
        "cd" * 16,
        "f" * 64,
        b"\x01",
        "order-7",
        "o" * 64,
        b"{}",
        "s" * 64,
        "2026-11-22T20:00:00Z",
    ),
    "completions": ("ab" * 12, "s" * 64, b"{}", "c" * 64, "2026-11-22T20:00:00Z"),
    "receipts": ("s" * 64, b"{}"),
    "signature_r": (b"r" * 32, "ab" * 12),
    "leases": ("st-01", 1, "q" * 64, b"{}", b"{}", 0, 500, b"h" * 32, 0, b"e" * 32, "2026-11-22T20:00:00Z"),
    "lease_signatures": ("st-01", 1, b"{}"),
    "reported_pins": ("st-01", 1, "s" * 64),
    "roots": (1, "r" * 64, "2026-11-22T20:00:00Z"),
    "order_approvals": ("e" * 64, "o" * 64, b"{}", "2026-11-22T20:00:00Z"),
    "order_raises": ("a" * 64, "o" * 64, "st-01", 5, b"{}", "2026-11-22T20:00:00Z"),
    "users": ("ab" * 16, "2026-11-22T20:00:00Z"),
    "user_states": ("ab" * 16, 1, "added", "operator", 1, "console", "2026-11-22T20:00:00Z", ""),
    "badge_salts": (1, "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22),
    "person_tokens": ("t" * 64, "ab" * 16, 1, "api", "report", "pins:read", "", "2026-11-22T20:00:00Z", "2026-12-22"),
    "ended_tokens": ("t" * 64, "2026-11-22T20:00:00Z"),
    "rosters": (1_796_000_000, b"{}"),
    "roster_signatures": (1_796_000_000, b"{}"),
    "pin_acts": (
        "ab" * 12, 1, "repin", "active", b"{}", "a" * 64, "active", "n" * 64, "f" * 64, "2026-12-22T20:00:00Z", b"{}",
        "p" * 64, b"{}", "n" * 64, b"\x02", b"c" * 32, "2026-11-23T20:00:00Z",
    ),
    "revocations": ("a" * 64, "ab" * 12, "order-7", "revoked", b"{}"),
    "rekey_words": ("a" * 64, 1, "ab" * 12, b"{}", b"{}", "2026-11-23T20:00:00Z"),
    "proposal_proofs": ("ab" * 12, "n" * 64, "udp", "t" * 64, "2026-11-23T20:00:00Z"),
    "proposals": ("q" * 32, "ab" * 12, "u" * 32, "api", "repin", "why", b"{}", "n" * 64, "2026-11-23T20:00:00Z"),
}  # fmt: skip
CHANGING = {"station_counts", "order_counts", "credentials", "tries", "challenges"}
COUNTED = (
    "st-01",
    1,
    500,
    "2026-11-22T20:00:00Z",
)  # of `station_counts`, whose rows change, as those of `order_counts`


def fill(database: Database) -> None:
    """One row in each table."""
    with database.write() as connection:
        for name, values in {**ROWS, "station_counts": COUNTED}.items():
            table = metadata.tables[name]
            connection.execute(insert(table), dict(zip(table.columns.keys(), values, strict=True)))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(sqlite_url(tmp_path / "registry.db"))
    schema.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def filled(database: Database) -> Database:
    fill(database)
    return database


def shape(database: Database) -> dict[str, Any]:
    """Everything that the database says of its tables."""
    asked = inspect(database.engine)
    tables = sorted(set(asked.get_table_names()) - {"alembic_version"})
    with database.read() as connection:
        listed = connection.exec_driver_sql("PRAGMA table_list").mappings().all()
        forms = {row["name"]: {"strict": row["strict"], "without rowid": row["wr"]} for row in listed}
    return {
        table: {
            "columns": [(each["name"], str(each["type"]), each["nullable"]) for each in asked.get_columns(table)],
            "primary": asked.get_pk_constraint(table),
            "unique": sorted(str(each) for each in asked.get_unique_constraints(table)),
            "foreign": sorted(str(each) for each in asked.get_foreign_keys(table)),
            "indexes": sorted(str(each) for each in asked.get_indexes(table)),
            "form": forms[table],
        }
        for table in tables
    }


def test_migrations_make_what_the_tables_say(database: Database, tmp_path: Path) -> None:
    declared = Database.open(sqlite_url(tmp_path / "declared.db"))
    with declared.write() as connection:
        metadata.create_all(connection)
    found, wanted = shape(database), shape(declared)
    declared.close()
    assert set(found) == {*ROWS, *CHANGING, *(each.name for each in SWEPT)}
    assert set(ROWS) == {each.name for each in APPEND_ONLY}
    assert found == wanted
    assert all(each["form"] == {"strict": 1, "without rowid": 1} for each in found.values())


def test_migrating_again_changes_nothing(filled: Database) -> None:
    before = shape(filled)
    schema.upgrade(filled)
    assert shape(filled) == before


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
    ],
)
def test_rows_are_never_changed(table: str, statement: str, filled: Database) -> None:
    column = inspect(filled.engine).get_columns(table)[0]["name"]
    with pytest.raises(IntegrityError, match="append-only"), filled.write() as connection:
        connection.exec_driver_sql(statement.format(table=table, column=column))


@pytest.fixture
def outsider(filled: Database) -> Iterator[sqlite3.Connection]:
    """As anybody opens the file: none of our settings, so foreign keys and DELETE triggers of a REPLACE do not speak."""
    with closing(sqlite3.connect(filled.engine.url.database or "", isolation_level=None)) as opened:
        found = [opened.execute(f"PRAGMA {name}").fetchone() for name in ("recursive_triggers", "foreign_keys")]
        assert found == [(0,), (0,)]
        yield opened


def attacks(connection: sqlite3.Connection, table: str) -> dict[str, list[str]]:
    """Statements that would change, remove or replace the row, by the trigger that must refuse each."""
    columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    indexes = connection.execute(f"SELECT name FROM pragma_index_list('{table}') WHERE \"unique\"").fetchall()
    keys = [connection.execute(f"SELECT name FROM pragma_index_info('{index}')").fetchall() for (index,) in indexes]
    assert keys
    replacing = []
    for key in keys:  # each by itself: every other column gets a value that is new
        row = ", ".join(name if (name,) in key else _fresh(name) for name in columns)
        target = ", ".join(name for (name,) in key)
        replacing += [f"{verb} INTO {table} SELECT {row} FROM {table}" for verb in ("INSERT OR REPLACE", "REPLACE")]
        replacing.append(
            f"INSERT INTO {table} SELECT {row} FROM {table} WHERE true "
            f"ON CONFLICT ({target}) DO UPDATE SET {columns[-1]} = excluded.{columns[-1]}"
        )
    updates = ("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE")
    return {
        "no_update": [f"{verb} {table} SET {name} = {name}" for verb in updates for name in columns],
        "no_delete": [f"DELETE FROM {table}"],
        "no_replace": replacing,
    }


_OWN = {"enabled": "1 - enabled", "kind": "CASE kind WHEN 'api' THEN 'session' ELSE 'api' END"}  # checked values
_BLOBS = {"roster", "envelope", "statement", "modulus", "r", "request", "lease", "head", "log_root_hash"}
_NUMBERS = {"state_number", "serial", "signed", "up_to", "log_size", "number", "version", "units"}
_BLOBS |= {"act", "repin", "authorisation", "new_modulus", "challenge", "spki", "word"}


def _fresh(column: str) -> str:
    """A value for the column that no row has."""
    if column in _OWN:
        return _OWN[column]
    if column in _NUMBERS:
        return "1000 + abs(random() % 1000000)"
    return f"CAST(hex(randomblob(8)) AS {'BLOB' if column in _BLOBS else 'TEXT'})"


@pytest.mark.parametrize("table", ROWS)
def test_an_outsider_cannot_change_a_row_either(table: str, outsider: sqlite3.Connection) -> None:
    before = outsider.execute(f"SELECT * FROM {table}").fetchall()
    for statements in attacks(outsider, table).values():
        for statement in statements:
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                outsider.execute(statement)
    assert outsider.execute(f"SELECT * FROM {table}").fetchall() == before == [ROWS[table]]


@pytest.mark.parametrize("trigger", ["no_update", "no_delete", "no_replace"])
@pytest.mark.parametrize("table", ROWS)
def test_control_without_the_trigger_a_row_goes(table: str, trigger: str, outsider: sqlite3.Connection) -> None:
    """So it is the trigger that refuses, and each attack would work."""
    for name in {trigger, "no_update"}:  # an upsert is refused by that one too
        outsider.execute(f"DROP TRIGGER {table}_{name}")
    outsider.execute("PRAGMA ignore_check_constraints = ON")  # nor do CHECKs and the rules of pins over time help
    for name in ("follow", "new_key", "before_acts"):
        outsider.execute(f"DROP TRIGGER IF EXISTS {table}_{name}")
    for statement in attacks(outsider, table)[trigger]:
        outsider.execute("BEGIN")
        assert outsider.execute(statement).rowcount == 1, statement
        outsider.execute("ROLLBACK")


FALLS = [
    "UPDATE station_counts SET pins = pins - 1",
    "UPDATE station_counts SET up_to = up_to - 1",
    "UPDATE station_counts SET station = 'st-02'",
    "DELETE FROM station_counts",
    "REPLACE INTO station_counts VALUES ('st-01', 0, 500, '')",
    "INSERT INTO station_counts VALUES ('st-01', 0, 1, '') ON CONFLICT (station) DO UPDATE SET pins = 0",
]


@pytest.mark.parametrize("statement", FALLS)
def test_a_stations_count_never_falls(statement: str, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"counts never fall|station_counts stay"):
        outsider.execute(statement)
    assert outsider.execute("SELECT * FROM station_counts").fetchall() == [COUNTED]


@pytest.mark.parametrize("statement", FALLS)
def test_control_without_the_triggers_a_count_falls(statement: str, outsider: sqlite3.Connection) -> None:
    for name in ("no_delete", "never_fall", "no_replace"):
        outsider.execute(f"DROP TRIGGER station_counts_{name}")
    assert outsider.execute(statement).rowcount == 1
    assert outsider.execute("SELECT * FROM station_counts").fetchall() != [COUNTED]


def test_a_stations_count_rises_as_far_as_its_leases(outsider: sqlite3.Connection) -> None:
    outsider.execute("UPDATE station_counts SET pins = 500")
    with pytest.raises(sqlite3.IntegrityError, match="within_lease"):
        outsider.execute("UPDATE station_counts SET pins = 501")
    outsider.execute("UPDATE station_counts SET pins = 501, up_to = 1000")


@pytest.mark.parametrize("table", ROWS)
def test_a_row_has_no_number_by_which_it_could_be_replaced(table: str, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="rowid"):
        outsider.execute(f"SELECT rowid FROM {table}")


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("pins", {}),
        ("pins", {0: "ee" * 12, 3: "e" * 64, 4: None, 8: "t" * 64}),
        ("pins", {0: "ee" * 12, 2: "ee" * 16, 4: None, 8: "t" * 64}),
        ("pins", {0: "ee" * 12, 2: "ee" * 16, 3: "e" * 64, 8: "t" * 64}),
        ("pins", {0: "ee" * 12, 2: "ee" * 16, 3: "e" * 64, 4: None}),
        ("pins", {0: "ee" * 12, 2: "ee" * 16, 3: "e" * 64, 4: None, 6: "x" * 64, 8: "t" * 64}),
        ("completions", {3: "d" * 64}),
        ("completions", {0: "ee" * 12, 3: "d" * 64}),
        ("receipts", {}),
        ("signature_r", {1: "ee" * 12}),
        ("orders", {1: "order-8"}),
        ("leases", {2: "r" * 64}),
        ("leases", {1: 2}),
        ("lease_signatures", {}),
        ("lease_signatures", {1: 2}),
        ("reported_pins", {2: "t" * 64}),
        ("reported_pins", {1: 2}),
        ("roots", {0: 2}),
        ("roots", {1: "t" * 64}),
        ("order_approvals", {}),
        ("order_approvals", {0: "t" * 64, 1: "x" * 64}),
        ("order_raises", {}),
        ("order_raises", {0: "t" * 64, 1: "x" * 64}),
        ("users", {}),
        ("user_states", {2: "role"}),
        ("user_states", {0: "cd" * 16}),
        ("badge_salts", {1: "x"}),
        ("person_tokens", {4: "other"}),
        ("person_tokens", {0: "u" * 64, 2: 2}),
        ("ended_tokens", {1: "2026-11-22T20:00:01Z"}),
        ("rosters", {1: b"other"}),
        ("roster_signatures", {1: b"other"}),
    ],
    ids=[
        "device",
        "job",
        "fingerprint",
        "modulus",
        "statement",
        "order",
        "completion",
        "completion-pin",
        "receipt",
        "r",
        "order-again",
        "lease-number",
        "lease-request",
        "lease-signature",
        "signature-without-lease",
        "reported-number",
        "reported-statement",
        "root",
        "root twice",
        "approvals",
        "approvals-of-no-order",
        "raise",
        "raise-of-no-order",
        "user",
        "user-state-number",
        "state-without-user",
        "badge-salt",
        "token",
        "token-without-state",
        "ended-twice",
        "roster-number",
        "roster-signature",
    ],
)
def test_what_must_be_unique_is(table: str, changes: dict[int, Any], filled: Database) -> None:
    """Each row differs from the stored one in all but what its id names. Of the constraints: the trigger is dropped."""
    with filled.write() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER {table}_no_replace")
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_before_acts")
    values = tuple(changes.get(place, value) for place, value in enumerate(ROWS[table]))
    with pytest.raises(IntegrityError, match="constraint failed"), filled.write() as connection:
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def test_a_pin_that_shares_nothing_is_taken(filled: Database) -> None:
    job = ROWS["pins"][2]
    values = ("ee" * 12, "st-0", job, "e" * 64, None, "order-7", "o" * 64, b"{}", "t" * 64, "2026-11-22T20:00:00Z")
    for number in ("2", "3"):  # rows without a modulus do not clash, nor does a job's id at another station
        own = tuple(
            value if place in {2, 4, 5, 6, 7, 9} else str(value)[:-1] + number for place, value in enumerate(values)
        )
        with filled.write() as connection:
            connection.exec_driver_sql("INSERT INTO pins VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", own)


def test_an_old_or_empty_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    empty = Database.open(sqlite_url(tmp_path / "empty.db"))
    with pytest.raises(DatabaseError, match="station-registry migrate"):
        schema.require_current(empty)
    schema.upgrade(empty)
    schema.require_current(empty)
    empty.close()


def test_settings_that_hold_on_every_connection(filled: Database) -> None:
    wanted = {
        "journal_mode": "truncate",
        "synchronous": 3,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "trusted_schema": 0,
    }
    reading = filled.engine.execution_options(**{READING: True})
    with reading.connect() as first, reading.connect() as second:
        for connection in (first, second):
            assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted} == wanted


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    database = Database.open(sqlite_url(path))
    schema.upgrade(database)
    database.quick_check()
    database.close()
    data = bytearray(path.read_bytes())
    data[2 * 4096 : 2 * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(data)
    with pytest.raises(DatabaseError, match="restore the last backup"):
        Database.open(sqlite_url(path)).quick_check()
