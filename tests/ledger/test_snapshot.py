"""A copy is one moment's, however busy the writer is, and keeps the writer no longer than it says."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ledger import snapshot
from ledger.append import append
from ledger.engine import Engine, open_engine, open_snapshot, reading, writing
from ledger.faults import StoreError
from station.jobs.schema import APPLICATION_ID

COUNT = "SELECT count(*), sum(length(entry)) FROM leaves"


def fill(engine: Engine, count: int, size: int = 20_000) -> None:
    with writing(engine) as connection:
        for each in range(count):
            append(connection, b"x" * size, subject="filled", step=str(each))


@dataclass(slots=True)
class Writer:
    """Appends two leaves a commit, without a pause; how long each took."""

    waits: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, path: Path) -> None:
        engine = open_engine(path, application_id=APPLICATION_ID)
        while not self.over.is_set():
            began = time.monotonic()
            with writing(engine) as connection:
                for half in "ab":
                    append(connection, b"y" * 50, subject="beside", step=f"{len(self.waits)}{half}")
            self.waits.append(time.monotonic() - began)
        engine.dispose()


@contextmanager
def busy_with(path: Path) -> Iterator[Writer]:
    writer = Writer()
    thread = threading.Thread(target=writer.run, args=(path,))
    thread.start()
    try:
        while len(writer.waits) < 3:
            time.sleep(0.01)
        yield writer
    finally:
        writer.over.set()
        thread.join()


def test_a_copy_is_the_file_of_that_moment(engine: Engine, path: Path) -> None:
    fill(engine, 3)
    copy = open_snapshot(path, application_id=APPLICATION_ID)
    with writing(engine) as connection:
        append(connection, b"later", subject="s", step="later")
    with reading(copy) as connection:
        assert connection.exec_driver_sql(COUNT).one() == (3, 60_000)
        names = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        copied = connection.exec_driver_sql(names).all()
    with reading(engine) as connection:
        assert connection.exec_driver_sql(names).all() == copied
    with pytest.raises(StoreError, match="read-only"), writing(copy) as connection:
        append(connection, b"entry", subject="s", step="1")
    copy.dispose()


def test_beside_a_writer_that_never_rests(engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every try between two commits fails; the last one, under one lock, does not."""
    monkeypatch.setattr(snapshot, "_STEP_PAGES", 4)
    at_last, locked = [], snapshot._under_one_lock
    monkeypatch.setattr(snapshot, "_under_one_lock", lambda *args: at_last.append(args) or locked(*args))
    fill(engine, 400)
    with busy_with(path) as writer:
        for _ in range(3):
            copy = open_snapshot(path, application_id=APPLICATION_ID)
            with reading(copy) as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
                (leaves,) = connection.exec_driver_sql(COUNT.replace(", sum(length(entry))", "")).one()
            assert (leaves - 400) % 2 == 0  # a commit is in it whole or not at all
            copy.dispose()
    assert at_last
    assert max(writer.waits) < snapshot.HOLD_S + 1


def test_a_copy_of_two_moments_would_be_seen(engine: Engine, path: Path) -> None:
    """The control of the above: what SQLite itself tells between two steps is what ends a try."""
    fill(engine, 200)
    told: list[int] = []
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect("")) as copy:

        def commit(_: int, remaining: int, __: int) -> None:
            told.append(remaining)
            if len(told) == 3:
                with writing(engine) as connection:
                    append(connection, b"between", subject="s", step="between")

        source.backup(copy, pages=50, progress=commit)
    assert told[3] >= told[2]
    pace = snapshot._Pace(time.monotonic() + 60, "late", restart=True)
    for remaining in told[:3]:
        pace(0, remaining, 0)
    with pytest.raises(snapshot._CommittedError):
        pace(0, told[3], 0)


def test_what_takes_too_long_under_the_lock_is_given_up(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_FREE_TRIES", 0)
    monkeypatch.setattr(snapshot, "HOLD_S", -1)
    fill(engine, 200)
    with pytest.raises(StoreError, match="ask again when the line rests"):
        open_snapshot(path, application_id=APPLICATION_ID)
    with closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")  # the lock is gone
    monkeypatch.setattr(snapshot, "HOLD_S", 2)
    open_snapshot(path, application_id=APPLICATION_ID).dispose()


@pytest.mark.parametrize("free_tries", [0, 3])
def test_a_file_that_stays_locked_is_said(path: Path, monkeypatch: pytest.MonkeyPatch, free_tries: int) -> None:
    monkeypatch.setattr(snapshot, "_WITHIN_S", 0.3)
    monkeypatch.setattr(snapshot, "_FREE_TRIES", free_tries)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            open_snapshot(path, application_id=APPLICATION_ID)
        assert time.monotonic() - began < 5


def test_no_room_for_the_copy_names_the_copy(engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = snapshot._fill

    def small(copy: sqlite3.Connection, source: sqlite3.Connection) -> None:
        copy.execute("PRAGMA max_page_count = 2")
        real(copy, source)

    monkeypatch.setattr(snapshot, "_fill", small)
    fill(engine, 3)
    with pytest.raises(StoreError, match="SQLITE_TMPDIR"):
        open_snapshot(path, application_id=APPLICATION_ID)


def test_what_is_no_ledger_is_no_ledger_as_a_copy_either(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no ledger"):
        open_snapshot(tmp_path / "none.db", application_id=APPLICATION_ID)
    (tmp_path / "text.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="keep the file"):
        open_snapshot(tmp_path / "text.db", application_id=APPLICATION_ID)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreError, match="another program"):
        open_snapshot(tmp_path / "other.db", application_id=APPLICATION_ID)
