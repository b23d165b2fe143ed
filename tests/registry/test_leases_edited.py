"""Rows of leases edited in the database itself: the check names each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import LargeBinary

from registry.checking.findings import findings
from registry.database import Database
from registry.tables import lease_signatures, leases, metadata, reported_pins
from tests.registry.asking import Asking
from tests.registry.test_rows_edited import other

EDITED = (leases, lease_signatures, reported_pins)
LEASES = {each.name for each in EDITED}


@pytest.fixture
def asking(database: Database) -> Asking:
    """Three leases; its pins are rows without statements, which the check names, too."""
    made = Asking.make(database)
    made.renew()
    made.renew(*made.pin(3))
    made.renew(*made.pin(2))
    with database.write() as connection:
        for table in EDITED:
            connection.exec_driver_sql(f"DROP TRIGGER {table.name}_no_update")
            connection.exec_driver_sql(f"DROP TRIGGER {table.name}_no_delete")
    return made


def named(asking: Asking) -> set[str]:
    return {each.table for each in findings(asking.database, asking.made.trusted, asking.now)} & LEASES


@contextmanager
def outside(asking: Asking) -> Iterator[Any]:
    """A connection that foreign keys and checks do not hold."""
    with asking.database.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA foreign_keys = OFF")
        yield raw
        raw.execute("PRAGMA foreign_keys = ON")


def test_control_leases_as_they_are(asking: Asking) -> None:
    assert named(asking) == set()


@pytest.mark.parametrize(("table", "column"), [(t.name, c.name) for t in EDITED for c in t.columns])
def test_an_edit_of_any_column_is_named(asking: Asking, table: str, column: str) -> None:
    keys = [each.name for each in metadata.tables[table].primary_key]
    order, place = ", ".join(keys), " AND ".join(f"{each} = ?" for each in keys)
    with outside(asking) as raw:
        for row in raw.execute(f"SELECT {order}, {column} FROM {table} ORDER BY {order}").fetchall():
            *key, value = row
            changed = other(value, blob=isinstance(metadata.tables[table].c[column].type, LargeBinary))
            raw.execute(f"UPDATE {table} SET {column} = ? WHERE {place}", (changed, *key))
            assert named(asking), row
            now = [changed if each == column else held for each, held in zip(keys, key, strict=True)]
            raw.execute(f"UPDATE {table} SET {column} = ? WHERE {place}", (value, *now))
    assert named(asking) == set()


@pytest.mark.parametrize("table", sorted(LEASES))
def test_a_row_that_is_gone_is_named(asking: Asking, table: str) -> None:
    keys = [each.name for each in metadata.tables[table].primary_key]
    order, place = ", ".join(keys), " AND ".join(f"{each} = ?" for each in keys)
    with outside(asking) as raw:
        for key in raw.execute(f"SELECT {order} FROM {table} ORDER BY {order}").fetchall():
            raw.execute("SAVEPOINT before")
            gone = raw.execute(f"SELECT * FROM {table} WHERE {place}", key).fetchone()
            raw.execute(f"DELETE FROM {table} WHERE {place}", key)
            raw.execute("RELEASE before")
            newest_lease = table == "leases" and key[1] == 3
            assert named(asking) or newest_lease, key
            raw.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(gone))})", gone)
