"""One SQLite connection made durable and strict, and how its transactions begin: for the ledger and for the registry.

Several pragmas are per connection and fail in silence, so each is read back. Knows no file, no table and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

READING: Final = "reads_only"
"""Execution option of a connection whose transactions take no write lock."""

_STRICT: Final[Mapping[str, str | int]] = MappingProxyType(
    {
        "busy_timeout": 5000,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "recursive_triggers": 1,  # else INSERT OR REPLACE deletes behind the triggers that refuse DELETE
    }
)


def set_up(dbapi: DBAPIConnection, mode: Mapping[str, str | int]) -> str | None:
    """Set the pragmas of `mode` and those that every connection has; which one SQLite does not take, or None."""
    dbapi.isolation_level = None  # the driver's own BEGIN would come too late and deferred
    cursor = dbapi.cursor()
    try:
        for name, value in {**_STRICT, **mode}.items():
            cursor.execute(f"PRAGMA {name}={value}")
            cursor.execute(f"PRAGMA {name}")
            found = cursor.fetchone()
            if found is None or found[0] != value:
                return f"SQLite does not take {name}={value} (says {found}): use a local disk, SQLite 3.37 or newer"
    finally:
        cursor.close()
    return None


def begin(connection: Connection) -> None:
    """For SQLAlchemy's event `begin`: a writer takes the lock at once, a reader none."""
    reads = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
