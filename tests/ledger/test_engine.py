"""The connection's durability is what it claims: pragmas read back, foreign files refused, errors with a remedy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from ledger.append import append
from ledger.engine import Engine, durability, open_engine, reading, writing
from ledger.faults import StoreError, explain
from station.jobs.schema import APPLICATION_ID


def opened(path: Path, *, read_only: bool = False) -> Engine:
    return open_engine(path, application_id=APPLICATION_ID, read_only=read_only)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ((3, 40, 1), ("truncate", 3)),
        ((3, 51, 2), ("truncate", 3)),
        ((3, 51, 3), ("wal", 2)),
        ((3, 52, 0), ("wal", 2)),
    ],
)
def test_wal_only_where_it_does_not_lose_pages(version: tuple[int, int, int], wanted: tuple[str, int]) -> None:
    assert durability(version) == wanted


def test_every_connection_is_durable(engine: Engine) -> None:
    journal, synchronous = durability(sqlite3.sqlite_version_info)
    wanted = {"journal_mode": journal, "synchronous": synchronous, "foreign_keys": 1, "busy_timeout": 5000}
    wanted |= {"trusted_schema": 0, "cell_size_check": 1, "recursive_triggers": 1}
    with reading(engine) as first, reading(engine) as second:  # two connections of the pool, not one twice
        for connection in (first, second):
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}
            assert found == wanted


def test_a_pragma_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr("ledger.engine.durability", lambda _: ("nonsense", 3))
    with pytest.raises(StoreError, match="does not take journal_mode=nonsense"):
        opened(path)


def test_a_writer_takes_the_lock_at_once(engine: Engine, path: Path) -> None:
    with writing(engine) as connection, closing(sqlite3.connect(path, timeout=0)) as other:
        assert connection.in_transaction()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("SELECT count(*) FROM leaves")
    with reading(engine), closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")


def test_a_missing_ledger_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no ledger"):
        opened(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreError, match="another program"):
        opened(path)


def test_a_path_with_odd_characters(tmp_path: Path, path: Path) -> None:
    odd = tmp_path / "a b?c#d%20.db"
    shutil.copy(path, odd)
    engine = opened(odd)
    with writing(engine) as connection:
        append(connection, b"entry", subject="s", step="1")
    engine.dispose()
    assert opened(odd, read_only=True)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_database_is_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="keep the file") as caught:
        opened(path)
    assert caught.value.fatal


def test_a_damaged_page_is_found_at_start(engine: Engine, path: Path) -> None:
    with writing(engine) as connection:
        for step in range(200):
            append(connection, b"x" * 200, subject="s", step=str(step))
    engine.dispose()
    opened(path).dispose()
    data = bytearray(path.read_bytes())
    for page in range(4096 * 25, len(data) - 4096, 4096):
        data[page : page + 16] = os.urandom(16)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="keep the file") as caught:
        opened(path)
    assert caught.value.fatal


def test_a_reader_writes_nothing(path: Path) -> None:
    engine = opened(path, read_only=True)
    with pytest.raises(StoreError, match="read-only"), writing(engine) as connection:
        append(connection, b"entry", subject="s", step="1")
    engine.dispose()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_file_says_so(path: Path) -> None:
    path.chmod(stat.S_IRUSR)
    with pytest.raises(StoreError, match="write access"):
        opened(path)


def test_a_full_disk_is_a_clean_refusal(engine: Engine, path: Path) -> None:
    """`max_page_count` is SQLite's own full disk: the same code path as ENOSPC."""
    with writing(engine) as connection:
        append(connection, b"before", subject="s", step="before")
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))

    def fill_up() -> None:
        with writing(engine) as connection:
            for step in range(100):
                append(connection, b"x" * 60_000, subject="s", step=str(step))

    with pytest.raises(StoreError, match="free space") as caught:
        fill_up()
    assert not caught.value.fatal
    engine.dispose()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM leaves").fetchone() == (1,)


def test_a_second_writer_is_named_as_the_cause(engine: Engine, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with reading(engine) as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")  # the pool hands the same connection out again
        with pytest.raises(StoreError, match="another process") as caught, writing(engine):
            pass
    assert not caught.value.fatal


@pytest.mark.parametrize(
    ("code", "name", "fatal"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, "disk failed", True),
        (sqlite3.SQLITE_IOERR_WRITE, "disk failed", True),
        (sqlite3.SQLITE_IOERR_DIR_FSYNC, "disk failed", True),
        (sqlite3.SQLITE_CORRUPT, "damaged", True),
        (sqlite3.SQLITE_NOTADB, "not a database", True),
        (sqlite3.SQLITE_FULL, "disk is full", False),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read-only", False),
        (sqlite3.SQLITE_BUSY, "another process", False),
        (sqlite3.SQLITE_CANTOPEN, "access rights", False),
        (sqlite3.SQLITE_CONSTRAINT, "report this", False),
    ],
)
def test_each_error_code_says_what_to_do(code: int, name: str, fatal: bool) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "NAME"
    found = explain(OperationalError("", {}, error))
    assert name in str(found)
    assert found.fatal is fatal
