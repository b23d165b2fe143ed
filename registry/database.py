"""The registry's database: transactions that either read or write, on SQLite or PostgreSQL. Never knows a table.

All other SQL is such as both take. What is SQLite's own stands here, what is PostgreSQL's in `registry.postgres`.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from ledger.durable import READING, begin, set_up
from registry import failures, postgres
from registry.failures import DatabaseError

T = TypeVar("T")
_DURABLE: Final[Mapping[str, str | int]] = MappingProxyType(
    {
        "journal_mode": "truncate",  # WAL loses pages on SQLite before 3.51.3 when two connections checkpoint
        "synchronous": 3,  # EXTRA: an acknowledged commit survives power loss, the journal's directory entry too
    }
)
_READS_ONLY: Final[Mapping[str, str | bool]] = MappingProxyType({READING: True})  # in SQLite, one view by itself
_ONE_VIEW: Final[Mapping[str, str | bool]] = MappingProxyType(
    {READING: True, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
)
_LOCKS = 0x6B657973  # "keys": our advisory locks, beside those of whatever else uses the server


class Turn(enum.IntEnum):
    """What processes do one after the other."""

    MIGRATE = 1
    ROOTS = 2
    FIRST_LEASE = 3
    PROPOSE = 4


@dataclass(frozen=True, slots=True)
class Database:
    """An engine with its two kinds of transaction; never one inside the other."""

    engine: Engine
    _turn: threading.Lock | None
    _reading: Mapping[str, str | bool]

    @classmethod
    def open(cls, url: str, *, patient: bool = False) -> Database:
        """By SQLAlchemy URL; DatabaseError for one that cannot be.

        Opens no connection yet; a SQLite file that is missing is made at the first one. `patient`: for the console's
        long work, whose statements may take as long as they take; whoever serves tells its clients sooner.
        """
        parsed = _parsed(url)
        if parsed.get_backend_name() != "sqlite":
            return cls(postgres.make_engine(parsed, patient=patient), None, _ONE_VIEW)
        engine = create_engine(parsed, pool_size=8, max_overflow=0, hide_parameters=True)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", begin)
        # In rollback mode a reader holds up the commit, and a commit the readers. On a lock threads queue for
        # microseconds; in SQLite's busy handler they would sleep for milliseconds.
        return cls(engine, threading.Lock(), _READS_ONLY)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: committed when the block ends, rolled back when it raises."""
        with self._turn or nullcontext(), self.engine.connect() as connection:
            with connection.begin():
                yield connection
            if self._turn is None:
                postgres.require_replicated(connection.connection.dbapi_connection)

    def writing(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives in a write transaction, done over when the database failed it and that may pass.

        `work` may have been committed before and its end not known: a unique constraint must tell it so.
        """
        for pause_s in failures.pauses():
            try:
                with self.write() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not failures.passes(error):
                    raise
            time.sleep(pause_s)
        with self.write() as connection:
            return work(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; writes nothing."""
        with self._turn or nullcontext(), self.engine.connect().execution_options(**self._reading) as connection:
            yield connection

    def assure(self) -> None:
        """Return when all that was committed so far is durable: before it is told that something is so already."""
        if not self._is_file:
            with self.write() as connection:
                assure(connection)

    def require_answer(self) -> None:
        """Raise DatabaseError if the database does not answer, or its server is not fit. Costs nobody anything."""
        self._ask("SELECT count(*) FROM sqlite_schema" if self._is_file else "SELECT 1")

    def quick_check(self) -> None:
        """As `require_answer`, and if a SQLite file is damaged: reads all of it, and keeps others from committing."""
        if not self._is_file:
            self.require_answer()
        elif (found := self._ask("PRAGMA quick_check")) != "ok":
            raise DatabaseError(f"the database is damaged ({found}): stop, keep the file, restore the last backup")

    def _ask(self, question: str) -> object:
        try:
            with self.read() as connection:
                return connection.exec_driver_sql(question).scalars().first()
        except DBAPIError as error:
            raise DatabaseError(failures.told(error)) from error

    @property
    def _is_file(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def assure(connection: Connection) -> None:
    """Have this transaction's commit wait for all that it has seen: what is answered of that is then durable, too.

    PostgreSQL shows a commit before its standby has it, where the waiting was cut off: a backend that was ended, a
    server that crashed and came back. Who then finds that it is so already, and changes nothing, would wait for nobody,
    and acknowledge what a failover loses. Changes no row. SQLite shows nothing that is not durable.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'keystation', '')")


def take_turn(connection: Connection, turn: Turn, *, shared: bool = False) -> None:
    """Wait until no other transaction has this turn, and keep it until ours ends; many may have a shared one.

    SQLite has one writer at any time anyway.
    """
    if connection.dialect.name != "sqlite":
        kind = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        connection.exec_driver_sql(f"SELECT {kind}({_LOCKS}, {turn.value})")


def time_s(connection: Connection) -> int:
    """The time by the database's own clock, in Unix seconds: the same one for all processes on a server.

    SQLite has the clock of the one process that it has.
    """
    asked = "SELECT floor(extract(epoch FROM clock_timestamp()))"
    if connection.dialect.name == "sqlite":
        asked = "SELECT strftime('%s', 'now')"
    return int(connection.exec_driver_sql(asked).scalar_one())


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # the latter for a port that is no number
        raise DatabaseError(f"database: not a URL: give a file, or {postgres.DRIVER}://ROLE@HOST/NAME") from error


def _set_up(dbapi: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    refused = set_up(dbapi, _DURABLE)
    if refused is not None:
        raise DatabaseError(refused)
