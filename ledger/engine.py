"""The one way to open a ledger's SQLite file: durable, strict, checked, with `BEGIN IMMEDIATE` for every writer.

Who reads all of a ledger opens a copy (`open_snapshot`): a reader's lock keeps the station's commits waiting. Several
pragmas are per connection and fail in silence, so each is read back. Never makes a table (migrations do) and never
opens a network path knowingly: SQLite's locks need a local disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool, StaticPool

from ledger.durable import READING, begin, set_up
from ledger.faults import StoreError, explain
from ledger.snapshot import copy_of

__all__ = ["Connection", "Engine", "durability", "open_engine", "open_snapshot", "reading", "writing"]

_WAL_FIXED = (3, 51, 3)  # before: a checkpoint that races a WAL reset loses pages (two connections)
_FULL, _EXTRA = 2, 3


def durability(version: tuple[int, int, int]) -> tuple[str, int]:
    """Journal mode and `synchronous` level that keep every acknowledged commit with this version of SQLite."""
    return ("wal", _FULL) if version >= _WAL_FIXED else ("truncate", _EXTRA)


def open_engine(path: Path, *, application_id: int, read_only: bool = False, create: bool = False) -> Engine:
    """An engine on the file; checks that it is ours and, to write, sound. Raises StoreError saying what to do.

    A missing file is made only with `create`: a ledger that is gone must be noticed, not replaced by an empty one.
    Read-only is for short questions: what they meet of a damage is an error of theirs.
    """
    if not create:
        _require(path)
    uri = _uri(path, "ro" if read_only else "rwc" if create else "rw")
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            uri, uri=True, check_same_thread=False
        ),  # the pool hands it from thread to thread
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=4,
    )
    event.listen(engine, "connect", _set_up_reader if read_only else _set_up_writer)
    event.listen(engine, "begin", _begin_reading if read_only else begin)
    return _checked(engine, path, application_id, whole=not read_only)


def open_snapshot(path: Path, *, application_id: int) -> Engine:
    """An engine on a copy of the file as it is now, to read all of it without keeping the station waiting.

    Checks that it is ours and sound. Raises StoreError saying what to do.
    """
    _require(path)
    copy = copy_of(_uri(path, "ro"))
    engine = create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool)
    event.listen(engine, "connect", _set_up_reader)
    event.listen(engine, "begin", _begin_reading)
    return _checked(engine, path, application_id, whole=True)


def _require(path: Path) -> None:
    if not path.is_file():
        raise StoreError(
            f"there is no ledger at {path}: the first batch makes it; if there was one, put its newest file back"
        )


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _checked(engine: Engine, path: Path, application_id: int, *, whole: bool) -> Engine:
    try:
        _check(engine, path, application_id, whole=whole)
    except DBAPIError as error:
        engine.dispose()
        raise explain(error) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed when the block ends, rolled back when it raises. Raises StoreError for SQL's."""
    with _explained(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view; takes no write lock."""
    with _explained(), engine.connect().execution_options(**{READING: True}) as connection:
        yield connection


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise explain(error) from error


def _set_up_writer(dbapi: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    journal, synchronous = durability(sqlite3.sqlite_version_info)
    _set_up(dbapi, {"journal_mode": journal, "synchronous": synchronous})


def _set_up_reader(dbapi: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    dbapi.text_factory = _any_text
    _set_up(dbapi, {"query_only": 1})


def _any_text(raw: bytes) -> str:
    """An auditor must be able to read text that somebody damaged."""
    return raw.decode(errors="backslashreplace")


def _set_up(dbapi: DBAPIConnection, mode: Mapping[str, str | int]) -> None:
    refused = set_up(dbapi, mode)
    if refused is not None:
        raise StoreError(refused)


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _check(engine: Engine, path: Path, application_id: int, *, whole: bool) -> None:
    with reading(engine) as connection:
        found = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        empty = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one() == 0
        if found != application_id and not (empty and found == 0):
            raise StoreError(f"{path} is another program's database: check the path")
        if not whole:  # it reads the whole file, and a commit would wait for it
            return
        sound = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if sound != "ok":
            raise StoreError(f"{path} is damaged ({sound}): keep the file, restore a backup beside it", fatal=True)
