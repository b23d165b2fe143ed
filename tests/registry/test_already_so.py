"""*It is so already* is told only of what is durable: a commit whose wait for the standby was cut off is seen, and may be lost.

A real server with a synchronous standby that never comes; the session that waits for it is ended, as by an
administrator or a crash. Negative control: without `assure` the second answer comes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from contextlib import contextmanager
from time import monotonic, sleep

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from registry.access.caller import Role
from registry.database import Database, assure
from registry.people.accounts import Accounts
from registry.people.passwords import Passwords
from registry.pins.service import PinService
from registry.tables import receipts
from tests.registry.make import Device, World
from tests.registry.postgres import Server
from trust.verifier import Cost

pytestmark = pytest.mark.timeout(90)
_LONG_S = 20
CHEAP = Cost(memory_kib=8, passes=1, lanes=1)


@pytest.fixture
def name(postgres: Server) -> str:
    return postgres.migrated()


@pytest.fixture
def opened(postgres: Server, name: str) -> Iterator[Database]:
    """Patient: this test looks at what waits, and not at when a registry gives up."""
    made = Database.open(postgres.url(name), patient=True)
    yield made
    made.close()


def waiting(postgres: Server, name: str) -> list[int]:
    """Sessions that wait for the standby."""
    asked = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'SyncRep'"
    return [int(str(pid)) for (pid,) in postgres.sql(asked)]


def until_one_waits(postgres: Server, name: str) -> int:
    end = monotonic() + _LONG_S
    while not (found := waiting(postgres, name)):
        assert monotonic() < end
        sleep(0.05)
    return found[0]


@contextmanager
def no_standby(postgres: Server) -> Iterator[Callable[[], None]]:
    """Commits wait for a standby that is not there, until the given function is called."""

    def back() -> None:
        postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.sql("SELECT pg_reload_conf()")

    postgres.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    postgres.sql("SELECT pg_reload_conf()")
    while postgres.sql("SHOW synchronous_standby_names") != [("nobody",)]:
        sleep(0.01)
    try:
        yield back
    finally:
        back()


def cut_off(postgres: Server, name: str, first: Future[object]) -> None:
    """End the session that waits: what it has committed is seen, and on no standby."""
    postgres.sql(f"SELECT pg_terminate_backend({until_one_waits(postgres, name)}, 5000)")
    assert isinstance(first.exception(_LONG_S), DBAPIError)


def told_only_later(postgres: Server, name: str, again: Callable[[], object], first: Callable[[], object]) -> object:
    """What `again` gives, which waits for the standby as `first` did."""
    with no_standby(postgres) as standby_is_back, ThreadPoolExecutor(2) as pool:
        cut_off(postgres, name, pool.submit(first))
        second = pool.submit(again)
        try:
            until_one_waits(postgres, name)
            with pytest.raises(NotYetError):
                second.result(0.5)
        finally:
            standby_is_back()
        return second.result(_LONG_S)


def test_a_user_who_is_disabled_already(postgres: Server, name: str, opened: Database) -> None:
    accounts = Accounts(opened, Passwords(CHEAP), "here")
    user = accounts.add(Role.AUDITOR, "console").user_id

    def disable() -> object:
        return accounts.disable(user, "console")

    state = told_only_later(postgres, name, disable, disable)
    assert [each.what for each in accounts.history(user)] == ["added", "disabled"]
    assert state == accounts.history(user)[-1]


def test_control_without_it_the_second_answer_waits_for_nobody(
    postgres: Server, name: str, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.people.accounts.assure", lambda _: None)
    accounts = Accounts(opened, Passwords(CHEAP), "here")
    user = accounts.add(Role.AUDITOR, "console").user_id
    with no_standby(postgres), ThreadPoolExecutor(1) as pool:
        cut_off(postgres, name, pool.submit(accounts.disable, user, "console"))
        assert not pool.submit(accounts.disable, user, "console").result(_LONG_S).enabled


def test_a_pin_whose_receipt_is_there_already(postgres: Server, name: str, opened: Database, made: World) -> None:
    """The receipt's commit is cut off; the same pin again finds pin and receipt."""
    device = Device()
    body = made.pin(device)
    service = PinService(opened, made.trusted, made.signer())

    def late() -> object:
        with opened.write() as connection:  # something that is committed, seen, and on no standby
            return connection.execute(insert(receipts), {"statement_sha256": "a" * 64, "envelope": b"{}"})

    pinned = service.pin(device.device_id, body, made.order_envelope)
    again = lambda: service.pin(device.device_id, body, made.order_envelope)  # noqa: E731
    assert told_only_later(postgres, name, again, late) == pinned


def test_it_changes_no_row(opened: Database) -> None:
    with opened.write() as connection:
        assure(connection)
        assert connection.execute(select(receipts)).all() == []
    opened.assure()
