"""The same on PostgreSQL: its superuser edits any column of a device's rows, and readers and the check notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from sqlalchemy import LargeBinary

from registry.checking.findings import findings
from registry.database import Database
from registry.pins.reading import UntrustedError, current
from registry.pins.rows import of_device
from registry.tables import metadata
from tests.registry.living import Living, living
from tests.registry.postgres import Server
from tests.registry.test_rows_edited import EDITED, fill, other
from tests.trust.pin_acts import NOW

# A word of a re-key that is gone from its device is missed by no reader, only by the check, which finds it elsewhere.
UNMISSED = ("rekey_words", "device_id")


@dataclass(slots=True)
class Filled:
    """Devices of every kind on a server, and the superuser's connection, for whom no trigger and no foreign key speaks."""

    site: Living
    devices: tuple[str, ...]
    superuser: psycopg.Connection[tuple[Any, ...]]

    def refused(self) -> bool:
        for device in self.devices:
            with self.site.database.read() as connection:
                rows = of_device(connection, device)
            try:
                if rows is None:
                    return True
                current(rows, self.site.made.trusted, NOW)
            except UntrustedError:
                return True
        return False

    def named(self) -> set[str]:
        return {each.table for each in findings(self.site.database, self.site.made.trusted, NOW)}


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Filled]:
    name = postgres.migrated()
    database = Database.open(postgres.url(name))
    site = living(database)
    devices = fill(site)
    with postgres.connect(name) as superuser:
        for table in EDITED:
            superuser.execute(f"ALTER TABLE {table.name} DISABLE TRIGGER ALL")
            for each in superuser.execute(
                "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", (table.name,)
            ).fetchall():
                superuser.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT {each[0]}")
        superuser.execute("SET session_replication_role = replica")
        yield Filled(site, devices, superuser)
    database.close()


def test_control_nothing_is_found_in_a_database_as_it_is(filled: Filled) -> None:
    assert (filled.refused(), filled.named()) == (False, set())


@pytest.mark.parametrize("table", [table.name for table in EDITED])
def test_an_edit_of_any_column_is_refused_and_named(filled: Filled, table: str) -> None:
    keys = [column.name for column in metadata.tables[table].primary_key]
    place = " AND ".join(f"{each} = %s" for each in keys)
    columns = list(metadata.tables[table].columns)
    row = filled.superuser.execute(
        f"SELECT {', '.join(each.name for each in columns)} FROM {table} ORDER BY {', '.join(keys)} LIMIT 1"
    ).fetchone()
    assert row is not None
    held = dict(zip((each.name for each in columns), row, strict=True))
    for column in columns:
        changed = other(held[column.name], blob=isinstance(column.type, LargeBinary))
        key = [held[each] for each in keys]
        filled.superuser.execute(f"UPDATE {table} SET {column.name} = %s WHERE {place}", (changed, *key))
        gone = (table, column.name) == UNMISSED
        assert filled.refused() or column.name in keys or gone, (table, column.name)
        assert table in filled.named(), (table, column.name)
        now = [changed if each == column.name else held[each] for each in keys]
        filled.superuser.execute(f"UPDATE {table} SET {column.name} = %s WHERE {place}", (held[column.name], *now))
    assert filled.named() == set()
