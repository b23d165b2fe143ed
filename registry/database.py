"""The registry's database connection: engine set-up, and transactions that either read or write.

The only place that knows SQLite; everything else is SQL that PostgreSQL takes too. Never knows a table.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from ledger.durable import READING, begin, set_up

_DURABLE: Final[Mapping[str, str | int]] = MappingProxyType(
    {
        "journal_mode": "truncate",  # WAL loses pages on SQLite before 3.51.3 when two connections checkpoint
        "synchronous": 3,  # EXTRA: an acknowledged commit survives power loss, the journal's directory entry too
    }
)
_READS_ONLY: Final[Mapping[str, str | bool]] = MappingProxyType({READING: True})  # in SQLite, one view by itself
_ONE_VIEW: Final[Mapping[str, str | bool]] = MappingProxyType({READING: True, "isolation_level": "REPEATABLE READ"})


class DatabaseError(Exception):
    """The database cannot be used as it is; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Database:
    """An engine with its two kinds of transaction; never one inside the other."""

    engine: Engine
    _turn: threading.Lock | None
    _reading: Mapping[str, str | bool]

    @classmethod
    def open(cls, url: str) -> Database:
        """By SQLAlchemy URL. Opens no connection yet; a SQLite file that is missing is made at the first one."""
        engine = create_engine(url, pool_size=8, max_overflow=0)
        if engine.dialect.name != "sqlite":
            return cls(engine, None, _ONE_VIEW)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", begin)
        # In rollback mode a reader holds up the commit, and a commit the readers. On a lock threads queue for
        # microseconds; in SQLite's busy handler they would sleep for milliseconds.
        return cls(engine, threading.Lock(), _READS_ONLY)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: committed when the block ends, rolled back when it raises."""
        with self._turn or nullcontext(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; writes nothing."""
        with self._turn or nullcontext(), self.engine.connect().execution_options(**self._reading) as connection:
            yield connection

    def quick_check(self) -> None:
        """Raise DatabaseError if the SQLite file is damaged."""
        if self.engine.dialect.name != "sqlite":
            return
        try:
            with self.read() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check").scalars().first()
        except DBAPIError as error:
            found = str(error.orig)
        if found != "ok":
            raise DatabaseError(f"the database is damaged ({found}): stop, keep the file, restore the last backup")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def _set_up(dbapi: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    refused = set_up(dbapi, _DURABLE)
    if refused is not None:
        raise DatabaseError(refused)
