"""Transactions on both databases: a reader has one view; a writer is done over when the database failed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, event, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import PoolProxiedConnection

from registry import failures
from registry.database import Database
from registry.failures import NotReplicatedError
from registry.pins.service import PinService
from registry.tables import receipts
from tests.registry.make import Device, World
from tests.registry.postgres import Server

_OTHER = {"statement_sha256": "a" * 64, "envelope": b"{}"}


@pytest.fixture
def name(postgres: Server) -> str:
    return postgres.migrated()


@pytest.fixture
def server(postgres: Server, name: str) -> Iterator[Database]:
    """A database on PostgreSQL."""
    opened = Database.open(postgres.url(name))
    yield opened
    opened.close()


def backends(postgres: Server, name: str) -> str:
    return f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"


def kill_all(postgres: Server, name: str) -> int:
    return len(postgres.sql(f"SELECT pg_terminate_backend(pid, 2000) {backends(postgres, name)}"))


def count(connection: Connection) -> int:
    return connection.exec_driver_sql("SELECT count(*) FROM receipts").scalar_one()


def test_a_read_has_one_view_though_others_commit(server: Database) -> None:
    with server.read() as connection:
        before = count(connection)
        with server.write() as other:
            other.execute(insert(receipts), _OTHER)
        assert count(connection) == before == 0
    with server.read() as connection:
        assert count(connection) == 1


def test_control_without_its_isolation_a_read_sees_what_others_commit(server: Database) -> None:
    planted = Database(server.engine, None, {})
    with planted.read() as connection:
        before = count(connection)
        with server.write() as other:
            other.execute(insert(receipts), _OTHER)
        assert count(connection) == before + 1


def test_a_read_writes_nothing(server: Database) -> None:
    with pytest.raises(DBAPIError, match="read-only"), server.read() as connection:
        connection.execute(insert(receipts), _OTHER)
    with server.write() as connection:
        connection.execute(insert(receipts), _OTHER)


def test_on_sqlite_a_read_asks_for_no_level(database: Database, rows: Callable[[str], int]) -> None:
    set_levels: list[object] = []
    event.listen(database.engine, "set_connection_execution_options", lambda _, options: set_levels.append(options))
    assert rows("pins") == 0
    assert [{**each} for each in set_levels] == [{"reads_only": True}]  # type: ignore[call-overload]


def test_connections_that_died_in_the_pool_are_not_handed_out(postgres: Server, server: Database, name: str) -> None:
    with ThreadPoolExecutor(8) as pool, server.read() as held:
        barrier = Barrier(7)
        list(pool.map(lambda _: use(server, barrier), range(7)))
        assert count(held) == 0
    assert kill_all(postgres, name) == 8
    for _ in range(9):
        with server.read() as connection:
            assert count(connection) == 0


def test_control_without_the_look_a_dead_connection_is_handed_out(
    postgres: Server, server: Database, name: str
) -> None:
    plain = create_engine(server.engine.url)
    with plain.connect() as connection:
        count(connection)
    kill_all(postgres, name)
    with pytest.raises(DBAPIError), plain.connect() as connection:
        count(connection)
    plain.dispose()


def use(database: Database, barrier: Barrier) -> None:
    with database.read() as connection:
        count(connection)
        barrier.wait(10)


def test_a_transaction_whose_connection_is_killed_is_done_over(postgres: Server, server: Database, name: str) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> int:
        tries.append(1)
        connection.execute(insert(receipts), {**_OTHER, "statement_sha256": f"{len(tries)}"})
        if len(tries) == 1:
            kill_all(postgres, name)
        return count(connection)

    assert server.writing(work) == 1
    assert len(tries) == 2
    tries.clear()
    with pytest.raises(DBAPIError), server.write() as connection:  # control: nobody does it over
        work(connection)


def test_two_that_wait_for_each_other_both_get_there(server: Database) -> None:
    both, tries = Barrier(2), []

    def work(connection: Connection, first: str, second: str) -> None:
        connection.execute(insert(receipts), {"statement_sha256": first, "envelope": first.encode()})
        tries.append(first)
        if len(tries) <= 2:
            both.wait(10)
        connection.execute(insert(receipts).values(statement_sha256=second + first, envelope=b"{}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": second})

    def locked(own: str, other: str) -> None:
        def both_locks(connection: Connection) -> None:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": own})
            work(connection, own, other)

        server.writing(both_locks)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(locked, ["a", "b"], ["b", "a"]))
    assert len(tries) == 3, "one of them was done over"
    with server.read() as connection:
        assert count(connection) == 4


def test_what_was_refused_is_not_done_over(server: Database) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute(insert(receipts), [_OTHER, _OTHER])

    with pytest.raises(IntegrityError):
        server.writing(work)
    assert len(tries) == 1


def test_a_database_that_stays_away_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    monkeypatch.setattr(failures, "_PAUSES_S", (0.01, 0.01))
    away = Database.open(f"postgresql+psycopg://x@/x?host={postgres.directory}/nowhere")
    with pytest.raises(DBAPIError):
        away.writing(count)


def lose_commits(database: Database, *, committed: bool) -> list[int]:
    """The connection goes at the next commit; with `committed`, after the server has stored it."""
    original, lost = database.engine.dialect.do_commit, []

    def do_commit(pooled: PoolProxiedConnection) -> None:
        if lost:
            original(pooled)
            return
        lost.append(1)
        if committed:
            original(pooled)
        assert pooled.dbapi_connection is not None
        pooled.dbapi_connection.close()
        raise psycopg.OperationalError("planted: the connection went at the commit")

    database.engine.dialect.do_commit = do_commit  # type: ignore[method-assign]
    return lost


@pytest.mark.parametrize("committed", [True, False], ids=["after it", "before it"])
def test_a_commit_whose_answer_is_lost_is_one_pin_and_is_answered(
    committed: bool, server: Database, made: World
) -> None:
    lost, device = lose_commits(server, committed=committed), Device()
    service = PinService(server, made.trusted, made.signer())
    record = service.pin(device.device_id, made.pin(device), made.order_envelope)
    assert lost == [1] and service.find(device.device_id) == record
    with server.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pins").scalar_one() == 1


def test_a_commit_that_no_longer_waits_for_its_standby_is_not_acknowledged(
    postgres: Server, server: Database, name: str
) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = 'on'")
    postgres.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(server.writing, lambda each: each.execute(insert(receipts), _OTHER))
            while not postgres.sql(f"SELECT 1 {backends(postgres, name)} AND wait_event = 'SyncRep'"):
                assert not waiting.done()
            postgres.sql(f"SELECT pg_cancel_backend(pid) {backends(postgres, name)} AND wait_event = 'SyncRep'")
            with pytest.raises(NotReplicatedError):
                waiting.result(10)
    finally:
        postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.sql("SELECT pg_reload_conf()")
    with server.write() as connection:  # and what comes after it is acknowledged again
        assert count(connection) == 1
