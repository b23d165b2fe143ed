"""An audit during a shift does not keep the line waiting, and a lock of somebody else does not stop it."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ledger.engine import Engine
from station.audit import audit
from station.audit.story import Storyteller, Told
from station.jobs import LedgerError, RecordKind, ledger_thread
from station.jobs.leaf import JobLeaf
from station.jobs.schema import open_copy, open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture
def path(tmp_path: Path, made: World) -> Path:
    path = tmp_path / "station.db"
    kit.run(kit.busy_station(path, made))
    return path


def commit(path: Path) -> None:
    """What the line does all the time, with no patience at all."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as line:
        line.execute("BEGIN IMMEDIATE")
        line.execute("INSERT INTO leaves SELECT 35, x'00', zeroblob(32), x'00', 's', 't'")
        line.execute("COMMIT")


def audited_while_committing(
    path: Path, made: World, monkeypatch: pytest.MonkeyPatch, open_it: Callable[[Path], Engine]
) -> int:
    """How many leaves the audit saw, while a commit came in the middle of it."""
    tell = Storyteller.tell

    def slow(teller: Storyteller, leaf: JobLeaf, index: int) -> Told:
        if index == 20:
            commit(path)
        return tell(teller, leaf, index)

    monkeypatch.setattr(Storyteller, "tell", slow)
    engine = open_it(path)
    try:
        report = audit(engine, made.trusted, kit.STATION)
    finally:
        engine.dispose()
    assert report.findings == ()
    return report.leaves


def test_a_commit_in_the_middle_of_an_audit(path: Path, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert audited_while_committing(path, made, monkeypatch, open_copy) == 35
    assert kit.rows(path, "SELECT count(*) FROM leaves") == [(36,)]


def test_on_the_file_itself_it_would_have_to_wait(path: Path, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        audited_while_committing(path, made, monkeypatch, lambda file: open_database(file, read_only=True))


def impatient(store: JobStore) -> None:
    """SQLite's own waiting, cut short: the pool hands the same connection out again."""
    with store._ledger._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 20")


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN; SELECT count(*) FROM leaves"])
def test_a_lock_of_somebody_else_is_waited_for(
    tmp_path: Path, made: World, caplog: pytest.LogCaptureFixture, lock: str
) -> None:
    """A writer's lock refuses the transaction's beginning, a reader's its commit: either is done again, whole."""
    path = tmp_path / "station.db"

    async def work() -> None:
        store = kit.store_at(path, made)
        impatient(store)
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            for each in lock.split("; "):
                other.execute(each).fetchone()
            timer = threading.Timer(0.5, other.execute, ["ROLLBACK"])
            timer.start()
            await kit.bring_to(store, made, RecordKind.PIN)
            timer.join()
        assert (await store.tip()).size == 4
        await store.close()

    with caplog.at_level(logging.WARNING):
        kit.run(work())
    assert "another process has kept the ledger locked" in caplog.text


def test_patience_has_an_end(tmp_path: Path, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_thread, "PATIENCE_S", 0.1)
    path = tmp_path / "station.db"

    async def work() -> None:
        store = kit.store_at(path, made)
        impatient(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match="another process keeps the ledger locked"):
                await kit.opened(store, Device().device_id, "order-7")
        await kit.opened(store, Device().device_id, "order-7")
        assert (await store.tip()).size == 2  # a lock leaves the store alive, and nothing half done
        await store.close()

    kit.run(work())
