"""A process that dies, or a disk that fails, at any system call: a step is whole or absent, and no lie is told.

Children are forked before the parent has any thread. strace makes one system call of the ledger's thread fail or the last
one the process makes. The controls plant what must be caught: a step split in two commits, and no fsync at all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from ledger.append import append
from ledger.engine import Connection, Engine, writing
from station.audit import audit
from station.jobs import LedgerError, RecordKind, queries, writes
from station.jobs.projection import rows
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit

REFUSED, DEAD = 7, 8
# All that SQLite's commit asks of the disk here, and every how-manieth of each is tried (all of them in the soak).
CALLS = {"fdatasync": 1, "ftruncate": 1, "pwrite64": 6}
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="not installed: strace")


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, made: World) -> tuple[Path, kit.Papers]:
    """A ledger with one unit that has its intent; its PIN is the step that will be interrupted."""
    path = tmp_path_factory.mktemp("crash") / "begun.db"

    async def begin() -> kit.Papers:
        store = kit.store_at(path, made)
        await store.keep_order(made.order_envelope)
        papers = await kit.bring_to(store, made, RecordKind.INTENT)
        await store.close()
        return papers

    return path, kit.run(begin())


@pytest.fixture
def again(begun: tuple[Path, kit.Papers], tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy of that ledger."""

    def copy() -> Path:
        path = tmp_path / "station.db"
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
        shutil.copy(begun[0], path)
        return path

    return copy


def forked(work: Callable[[], int]) -> int:
    """Run in a child that never comes back; its exit code, or minus the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def whole_or_absent(path: Path, made: World, papers: kit.Papers) -> bool:
    """Whether the step is on record; the ledger must be sound, audit clean, and take the step (again) afterwards."""
    engine = open_database(path)
    report = audit(engine, made.trusted, kit.STATION)
    assert [str(finding) for finding in report.findings] == []
    with engine.connect() as connection:
        done = RecordKind.PIN in queries.records(connection, papers.device.job)
        assert len(queries.pending(connection, 0)[0]) == done
    with writing(engine) as connection:
        writes.record(connection, kit.STATION, papers.device.job, RecordKind.PIN, papers.steps[RecordKind.PIN])
    assert audit(engine, made.trusted, kit.STATION).findings == ()
    engine.dispose()
    return done


def test_a_process_that_dies_between_statements_leaves_no_half_step(
    again: Callable[[], Path], begun: tuple[Path, kit.Papers], made: World
) -> None:
    outcomes = []
    for number in range(1, 100):
        path = again()
        code = forked(lambda path=path, number=number: record_and_die(path, begun[1], number))  # type: ignore[misc]
        outcomes.append(whole_or_absent(path, made, begun[1]))
        if code == 0:
            break
        assert code == DEAD
    assert len(outcomes) > 5  # so many statements were interrupted
    assert outcomes == [False] * (len(outcomes) - 1) + [True]


def record_and_die(path: Path, papers: kit.Papers, number: int) -> int:
    """Die after the given statement of the transaction (BEGIN is the first)."""
    engine = open_database(path)
    count = 0

    def die(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            os._exit(DEAD)

    event.listen(engine, "after_cursor_execute", die)
    with writing(engine) as connection:
        writes.record(connection, kit.STATION, papers.device.job, RecordKind.PIN, papers.steps[RecordKind.PIN])
    return 0


def test_control_a_step_in_two_commits_is_caught(
    again: Callable[[], Path], begun: tuple[Path, kit.Papers], made: World
) -> None:
    path = again()

    def die_in_between() -> int:
        with writing(open_database(path)) as connection:
            papers = begun[1]
            leaf = writes.parse_leaf(papers.steps[RecordKind.PIN])
            append(connection, leaf.envelope.to_json(), subject=leaf.subject, step=leaf.step)
        os._exit(DEAD)  # the rows would have come in a second transaction

    assert forked(die_in_between) == DEAD
    engine = open_database(path)
    findings = audit(engine, made.trusted, kit.STATION).findings
    assert {(found.check, found.table) for found in findings} == {(12, "records"), (12, "outbox"), (15, "orders")}
    engine.dispose()


def straced(work: Callable[[], int], call: str, fault: str, number: int) -> tuple[int, bool]:
    """Run in a child whose so-manieth such system call (counted in each thread) meets the fault; whether it came to it."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            code = work()
        finally:
            os._exit(code)
    try:
        os.read(ready[0], 1)
        inject = f"inject={call}:{fault}:when={number}"
        command = ["strace", "-f", "-p", str(child), "-e", f"trace={call}", "-e", inject]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                os.kill(child, signal.SIGKILL)
                pytest.skip(f"strace may not attach here: {said.strip()}")
            os.write(go[1], b".")
            met = "INJECTED" in tracer.stderr.read()
    finally:
        for end in (*ready, *go):
            os.close(end)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, code != 0 if "SIGKILL" in fault else met


def record_pin(path: Path, made: World, papers: kit.Papers) -> int:
    """0: recorded. REFUSED: a LedgerError, and the store works on. DEAD: a LedgerError, and the store refuses all."""

    async def work() -> int:
        store = JobStore(open_database(path), kit.stamp(made))
        try:
            await store.record(papers.device.job, RecordKind.PIN, papers.steps[RecordKind.PIN])
        except LedgerError:
            try:
                await kit.job_of(store, papers.device)
            except LedgerError as error:
                assert "this process must end" in str(error)  # noqa: PT017 - in a child
                return DEAD
            return REFUSED
        return 0

    return asyncio.run(work())


Again = Callable[[], Path]
Begun = tuple[Path, kit.Papers]
Trial = tuple[str, int, int, bool]


def trials(again: Again, begun: Begun, made: World, fault: str, calls: dict[str, int]) -> list[Trial]:
    """The step once for each such system call: call, number, exit code, whether the step is on record afterwards."""
    found: list[Trial] = []
    for call, every in calls.items():
        for number in range(1, 1000, every):
            path = again()
            code, met = straced(lambda path=path: record_pin(path, made, begun[1]), call, fault, number)  # type: ignore[misc]
            if not met:
                assert code == 0
                break
            found.append((call, number, code, whole_or_absent(path, made, begun[1])))
    print(f"{fault}: {len(found)} system calls")
    return found


def killed(again: Again, begun: Begun, made: World, calls: dict[str, int]) -> None:
    found = trials(again, begun, made, "signal=SIGKILL", calls)
    assert {code for _, _, code, _ in found} == {-signal.SIGKILL}
    assert {done for *_, done in found} == {False, True}  # before the commit, and after it
    syncs = [done for call, _, _, done in found if call == "fdatasync"]
    assert len(syncs) >= 4
    assert syncs == sorted(syncs)


def refused(again: Again, begun: Begun, made: World, calls: dict[str, int]) -> None:
    found = trials(again, begun, made, "error=ENOSPC", calls)
    assert {(code, done) for _, _, code, done in found} == {(REFUSED, False)}


@needs_strace
def test_a_process_killed_at_a_system_call_leaves_no_half_step(again: Again, begun: Begun, made: World) -> None:
    killed(again, begun, made, CALLS)


@needs_strace
@pytest.mark.soak
def test_a_process_killed_at_any_system_call_leaves_no_half_step(again: Again, begun: Begun, made: World) -> None:
    killed(again, begun, made, dict.fromkeys(CALLS, 1))


@needs_strace
def test_a_failed_fsync_is_never_papered_over(again: Again, begun: Begun, made: World) -> None:
    found = trials(again, begun, made, "error=EIO", {"fdatasync": 1})
    assert len(found) >= 4
    # SQLite does not look at what syncing the *directory* says; in TRUNCATE mode the journal's name is there for long
    ignored = [number for _, number, code, _ in found if code == 0]
    assert ignored in ([], [2])
    assert {code for _, number, code, _ in found if number not in ignored} == {DEAD}


@needs_strace
def test_control_without_fsync_no_failure_is_seen(
    again: Again, begun: Begun, made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same injection with `synchronous=OFF` meets nothing: what the tests above count is really the fsync."""
    monkeypatch.setattr("ledger.engine.durability", lambda _: ("truncate", 0))
    assert trials(again, begun, made, "error=EIO", {"fdatasync": 1}) == []


@needs_strace
def test_a_full_disk_is_refused_and_nothing_is_written(again: Again, begun: Begun, made: World) -> None:
    refused(again, begun, made, {"pwrite64": 6})


@needs_strace
@pytest.mark.soak
def test_a_full_disk_at_any_write_is_refused(again: Again, begun: Begun, made: World) -> None:
    refused(again, begun, made, {"pwrite64": 1})


def test_a_store_after_a_failed_disk_refuses_everything(
    tmp_path: Path, made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        store = kit.store_at(tmp_path / "station.db", made)
        device = Device().device_id
        await kit.opened(store, device, "order-7")

        def broken(*_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(writes, "_insert", lambda connection, _row: _raise(connection, broken))
            with pytest.raises(LedgerError, match="disk failed"):
                await kit.opened(store, Device().device_id, "order-7")
        for asked in (store.of_device(device), store.pending(), store.tip()):
            with pytest.raises(LedgerError, match="this process must end"):
                await asked
        with pytest.raises(LedgerError, match="this process must end"):
            await kit.opened(store, device, "order-7")
        await store.close()

    kit.run(work())
    assert kit.rows(tmp_path / "station.db", "SELECT count(*) FROM jobs") == [(1,)]


def _raise(connection: Connection, broken: Callable[[], None]) -> None:
    from sqlalchemy.exc import OperationalError

    assert connection.in_transaction()
    try:
        broken()
    except sqlite3.OperationalError as error:
        raise OperationalError("", {}, error) from error


def test_a_locked_ledger_says_who(tmp_path: Path, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.jobs.ledger_thread.PATIENCE_S", 0)

    async def work() -> None:
        path = tmp_path / "station.db"
        store = kit.store_at(path, made)
        await kit.opened(store, Device().device_id, "order-7")
        engine: Engine = store._ledger._engine
        event.listen(engine, "begin", lambda connection: None)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 20")
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match="another process"):
                await kit.opened(store, Device().device_id, "order-7")
        await kit.opened(store, Device().device_id, "order-7")
        await store.close()

    kit.run(work())


def test_a_ledger_that_was_tampered_with_says_audit(tmp_path: Path, made: World) -> None:
    async def work() -> None:
        path = tmp_path / "station.db"
        store = kit.store_at(path, made)
        unit = await kit.bring_to(store, made, RecordKind.PIN)
        kit.vandalise(path, "UPDATE leaves SET entry = x'00', frontier = x'00' WHERE \"index\" = 3")
        with pytest.raises(LedgerError, match="run station ledger verify"):
            await store.pending()
        with pytest.raises(LedgerError, match="run station ledger verify"):
            await kit.opened(store, Device().device_id, "order-7")
        with pytest.raises(LedgerError, match="run station ledger verify"):
            await kit.records(store, unit.device)
        await store.close()

    kit.run(work())


def test_rows_are_what_the_store_inserts() -> None:
    """The control above splits what `writes` does in one go; it must be the same function."""
    assert writes.rows is rows
