"""What access remembers goes when its time is over, a few rows at a time, and never before; sweepers never wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from registry.access import sweeping
from registry.access.day_secrets import DaySecrets
from registry.access.nonces import DAY_S, Nonces
from registry.access.sweeping import Sweeper, sweep
from registry.database import Database, time_s
from registry.tables import access_tokens, nonce_secrets, used_once

pytestmark = pytest.mark.both_databases
NOW = 1_764_504_000


def fill(database: Database, over: int, good: int) -> None:
    used = [{"sha256": number.to_bytes(32, "big"), "expires_at": NOW - 1} for number in range(over)]
    used += [{"sha256": number.to_bytes(32, "big"), "expires_at": NOW} for number in range(over, over + good)]
    tokens = [
        {
            "token_sha256": each["sha256"], "station": "station-01", "client_sha256": "c" * 64, "thumbprint": "t",
            "scopes": "pins:read", "expires_at": each["expires_at"],
        }
        for each in used
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(used_once), used)
        connection.execute(insert(access_tokens), tokens)


def test_only_what_is_over_goes(database: Database, rows: Callable[[str], int]) -> None:
    fill(database, 7, 5)
    with database.write() as connection:
        assert sweep(connection, NOW) == 14
    assert (rows("used_once"), rows("access_tokens")) == (5, 5)
    with database.write() as connection:
        assert sweep(connection, NOW) == 0
        assert sweep(connection, NOW + 1) == 10


def test_a_few_at_a_time(database: Database, rows: Callable[[str], int], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, 25, 0)
    monkeypatch.setattr(sweeping, "_OLD_USED", sweeping.old(used_once, most=10))
    for left in (15, 5, 0):
        with database.write() as connection:
            sweep(connection, NOW)
        assert rows("used_once") == left


def test_secrets_of_days_that_nobody_asks_for_any_more_go(database: Database, rows: Callable[[str], int]) -> None:
    today = NOW // DAY_S
    with database.write() as connection:
        days = [{"day": day, "secret": b"s" * 32} for day in range(today - 5, today + 2)]
        connection.execute(insert(nonce_secrets), days)
        assert sweep(connection, NOW) == 3
    assert rows("nonce_secrets") == 4


def test_two_sweepers_never_wait_for_each_other(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at any time")
    fill(database, 20, 0)
    with database.write() as first, database.write() as second:
        assert sweep(first, NOW) == 40
        second.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        assert sweep(second, NOW) == 0


def test_a_process_whose_clock_is_ahead_sweeps_nothing_that_others_need(
    database: Database, rows: Callable[[str], int]
) -> None:
    """Control: by that clock alone all of it would go."""
    with database.write() as connection:
        now = time_s(connection)
        used = {"sha256": b"u" * 32, "expires_at": now + 60}
        connection.execute(insert(used_once), [used, {"sha256": b"o" * 32, "expires_at": now - 60}])
        connection.execute(insert(nonce_secrets), {"day": now // DAY_S, "secret": b"s" * 32})
    ahead = datetime.fromtimestamp(now, UTC) + timedelta(days=9)
    Sweeper(database, lambda: ahead).sweep_if_due()
    assert (rows("used_once"), rows("nonce_secrets")) == (1, 1)
    with database.write() as connection:
        assert sweep(connection, int(ahead.timestamp())) == 2


def test_a_process_whose_clock_is_behind_sweeps_less(database: Database, rows: Callable[[str], int]) -> None:
    fill(database, 3, 0)
    Sweeper(database, lambda: datetime.fromtimestamp(NOW - 1, UTC)).sweep_if_due()
    assert rows("used_once") == 3


def test_sweeping_is_done_now_and_then(database: Database, rows: Callable[[str], int]) -> None:
    clock = [100.0]
    sweeper = Sweeper(database, lambda: datetime.fromtimestamp(NOW, UTC), monotonic=lambda: clock[0])
    fill(database, 3, 0)
    sweeper.sweep_if_due()
    assert rows("used_once") == 0
    fill(database, 3, 0)
    clock[0] += sweeping.EVERY_S - 0.1
    sweeper.sweep_if_due()
    assert rows("used_once") == 3
    clock[0] += 0.2
    sweeper.sweep_if_due()
    assert rows("used_once") == 0


def test_a_sweep_that_fails_is_not_the_failure_of_who_came_by(
    database: Database, rows: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    sweeper = Sweeper(database, lambda: datetime.fromtimestamp(NOW, UTC), monotonic=lambda: clock[0])
    fill(database, 3, 0)
    with monkeypatch.context() as planted:
        planted.setattr(sweeping, "sweep", lambda connection, _: connection.exec_driver_sql("DELETE FROM no_table"))
        sweeper.sweep_if_due()
    assert "was not swept" in caplog.text
    clock[0] += sweeping.EVERY_S
    sweeper.sweep_if_due()
    assert rows("used_once") == 0


def test_two_processes_have_one_secret_and_take_each_others_nonces(database: Database) -> None:
    now = lambda: datetime.fromtimestamp(NOW, UTC)  # noqa: E731
    one, two = (Nonces(DaySecrets(database).of, now) for _ in range(2))
    assert one.current() == two.current()
    assert one.known(two.current())
    assert not one.known(two.current()[:-1]) and not one.known("") and not one.known("ä" * 22)


def test_of_two_processes_that_need_a_secret_at_once_one_makes_it(database: Database) -> None:
    """The second one looked before the first had made it."""
    first, second = DaySecrets(database), DaySecrets(database)
    second._read = lambda day, read=second._read, asked=[]: read(day) if asked or asked.append(day) else None  # type: ignore[method-assign]
    made = first.of(7)
    assert second.of(7) == made
