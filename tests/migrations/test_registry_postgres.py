"""The registry's schema on PostgreSQL: what the tables say, and rows that stay; each trigger by what it keeps out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from registry import schema
from registry.database import Database
from registry.tables import APPEND_ONLY, SWEPT, metadata
from tests.migrations.test_registry import COUNTED, ROWS, fill
from tests.registry.postgres import Server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def name(postgres: Server) -> str:
    return postgres.migrated()


@pytest.fixture
def filled(postgres: Server, name: str) -> Iterator[Database]:
    opened = Database.open(postgres.url(name))
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(postgres: Server) -> str:
    """A database with a row in each table, for tests that leave it as it is."""
    name = postgres.migrated()
    opened = Database.open(postgres.url(name))
    fill(opened)
    opened.close()
    return name


@pytest.fixture
def outsider(postgres: Server, shared: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The tables' owner, who is here the server's superuser too: nobody may more. All is rolled back at the end."""
    with postgres.connect(shared) as opened, opened.transaction(force_rollback=True):
        yield opened


def shape(database: Database) -> dict[str, Any]:
    """Everything that the database says of its tables."""
    asked = inspect(database.engine)
    return {
        table: {
            "columns": [(each["name"], str(each["type"]), each["nullable"]) for each in asked.get_columns(table)],
            "primary": asked.get_pk_constraint(table),
            "unique": sorted(str(each) for each in asked.get_unique_constraints(table)),
            "foreign": sorted(str(each) for each in asked.get_foreign_keys(table)),
            "indexes": sorted(str(each) for each in asked.get_indexes(table)),
            "check": sorted(str(each) for each in asked.get_check_constraints(table)),
        }
        for table in sorted(set(asked.get_table_names()) - {"alembic_version"})
    }


def test_migrations_make_what_the_tables_say(filled: Database, postgres: Server) -> None:
    declared = Database.open(postgres.url(postgres.empty()))
    with declared.write() as connection:
        metadata.create_all(connection)
    found, wanted = shape(filled), shape(declared)
    declared.close()
    assert found == wanted
    assert set(found) == set(metadata.tables)


def test_migrating_again_changes_nothing(filled: Database) -> None:
    before = shape(filled)
    schema.upgrade(filled)
    assert shape(filled) == before
    schema.require_current(filled)


def test_every_table_has_the_triggers_of_its_kind(outsider: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Records: none of three. Counts: neither removed nor emptied. Only what is swept may go. All of them ALWAYS."""
    found: dict[str, set[str]] = {each: set() for each in metadata.tables}
    triggers = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
    for table, name, enabled in outsider.execute(triggers).fetchall():
        assert enabled == "A", name
        found[table].add(name.removeprefix(f"{table}_no_"))
    records, swept = {each.name for each in APPEND_ONLY}, {each.name for each in SWEPT}
    for table in records:
        assert found[table] >= {"update", "delete", "truncate"}, table
    for table in found.keys() - records - swept:
        assert found[table] >= {"delete", "truncate"}, table
    assert not records & swept


def attacks(table: str) -> dict[str, list[str]]:
    """Statements that would change or remove the row, by the trigger that must refuse each."""
    columns = metadata.tables[table].columns.keys()
    key = ", ".join(metadata.tables[table].primary_key.columns.keys())
    same = " AND ".join(f"a.{each} = b.{each}" for each in key.split(", "))
    upsert = f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {columns[-1]} = excluded.{columns[-1]}"
    return {
        "no_update": [
            *(f"UPDATE {table} SET {each} = {each}" for each in columns),
            upsert,
            f"MERGE INTO {table} a USING {table} b ON {same} WHEN MATCHED THEN UPDATE SET {columns[-1]} = b.{columns[-1]}",
        ],
        "no_delete": [
            f"DELETE FROM {table}",
            f"MERGE INTO {table} a USING {table} b ON {same} WHEN MATCHED THEN DELETE",
        ],
        "no_truncate": [f"TRUNCATE {table} CASCADE"],
    }


def refused(outsider: psycopg.Connection[tuple[Any, ...]], statement: str, text: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=text), outsider.transaction():
        outsider.execute(statement)


@pytest.mark.parametrize("replica", [False, True], ids=["", "as a replica"])
@pytest.mark.parametrize("table", ROWS)
def test_nobody_changes_a_row(table: str, replica: bool, outsider: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Not in a session either that calls itself a replica, in which ordinary triggers are silent."""
    before = outsider.execute(f"SELECT * FROM {table}").fetchall()
    if replica:
        outsider.execute("SET session_replication_role = replica")
    for statements in attacks(table).values():
        for statement in statements:
            refused(outsider, statement, "is append-only")
    assert outsider.execute(f"SELECT * FROM {table}").fetchall() == before == [ROWS[table]]


@pytest.mark.parametrize("trigger", ["no_update", "no_delete", "no_truncate"])
@pytest.mark.parametrize("table", ROWS)
def test_control_without_the_trigger_a_row_goes(
    table: str, trigger: str, outsider: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """So it is the trigger that refuses, and each attack would work. Foreign keys are out of the way, too."""
    for statement in attacks(table)[trigger]:
        with outsider.transaction(force_rollback=True):
            for each in metadata.tables if trigger == "no_truncate" else [table]:
                outsider.execute(f"DROP TRIGGER IF EXISTS {each}_{trigger} ON {each}")
            for rule in ("follow", "new_key", "before_acts"):  # of pins over time, which refuse some of it, too
                outsider.execute(f"DROP TRIGGER IF EXISTS {table}_{rule} ON {table}")
            outsider.execute("SET LOCAL session_replication_role = replica")
            outsider.execute(statement)
            if trigger != "no_update":
                assert outsider.execute(f"SELECT * FROM {table}").fetchall() == []


FALLS = [
    "UPDATE station_counts SET pins = pins - 1",
    "UPDATE station_counts SET up_to = up_to - 1",
    "UPDATE station_counts SET station = 'st-02'",
    "DELETE FROM station_counts",
    "TRUNCATE station_counts",
    "INSERT INTO station_counts VALUES ('st-01', 0, 1, '') ON CONFLICT (station) DO UPDATE SET pins = 0",
]


@pytest.mark.parametrize("statement", FALLS)
def test_a_stations_count_never_falls(statement: str, outsider: psycopg.Connection[tuple[Any, ...]]) -> None:
    refused(outsider, statement, r"counts never fall|station_counts stay")
    assert outsider.execute("SELECT * FROM station_counts").fetchall() == [COUNTED]


@pytest.mark.parametrize("statement", FALLS)
def test_control_without_the_triggers_a_count_falls(
    statement: str, outsider: psycopg.Connection[tuple[Any, ...]]
) -> None:
    for verb in ("update", "delete", "truncate"):
        outsider.execute(f"DROP TRIGGER station_counts_no_{verb} ON station_counts")
    outsider.execute(statement)
    assert outsider.execute("SELECT * FROM station_counts").fetchall() != [COUNTED]


def test_a_stations_count_rises_as_far_as_its_leases(outsider: psycopg.Connection[tuple[Any, ...]]) -> None:
    outsider.execute("UPDATE station_counts SET pins = 500")
    with pytest.raises(psycopg.errors.CheckViolation, match="within_lease"), outsider.transaction():
        outsider.execute("UPDATE station_counts SET pins = 501")
    outsider.execute("UPDATE station_counts SET pins = 501, up_to = 1000")


def test_a_row_that_is_there_is_a_unique_constraints_refusal(filled: Database) -> None:
    """As on SQLite, where the trigger says so: one class of error for whoever inserts."""
    for name, values in ROWS.items():
        table = metadata.tables[name]
        with pytest.raises(IntegrityError, match=r"duplicate key|comes before every act"), filled.write() as connection:
            connection.execute(table.insert(), dict(zip(table.columns.keys(), values, strict=True)))
