"""The check of the whole keeps no registry from its commits: what it looks at in one view does not grow with the rows.

On SQLite a commit waits for every reader that is in its view, and gives up after a few seconds.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import event, exists, or_, select

from registry.checking import findings
from registry.checking.counts import count_findings
from registry.database import Database, sqlite_url
from registry.tables import completions, order_counts, pin_acts, pins, receipts
from tests.registry.living import living
from tests.trust.pin_acts import NOW
from trust.root import TrustedRoot

_STEP = 100  # instructions of SQLite's machine
_FEW, _MANY = 200, 800


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def filled(directory: Path, migrated: bytes, devices: int) -> Database:
    """So many devices' rows, each in its place and none with anything in it that verifies."""
    path = directory / f"{devices}.db"
    path.write_bytes(migrated)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA synchronous = 0")
        for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            opened.execute(f"DROP TRIGGER {name}")
        opened.execute("INSERT INTO orders VALUES (?, 'order', x'00')", ("a" * 64,))
        for number in range(devices):
            device, said, done = f"{number:024x}", sha256(f"pin {number}"), sha256(f"done {number}")
            opened.execute(
                "INSERT INTO pins VALUES (?, ?, ?, ?, NULL, 'order', ?, ?, ?, '2026')",
                (device, f"s{number % 8}", f"{number:032x}", sha256(device), "a" * 64, b"x" * 300, said),
            )
            opened.execute("INSERT INTO completions VALUES (?, ?, ?, ?, '2026')", (device, said, b"x" * 300, done))
            opened.executemany("INSERT INTO receipts VALUES (?, ?)", [(said, b"x" * 200), (done, b"x" * 200)])
            opened.execute("INSERT INTO signature_r VALUES (?, ?)", (bytes.fromhex(said), device))
        opened.executemany(
            "INSERT INTO order_counts VALUES (?, ?, ?, 1000000, ?, 1000000, 0)",
            [("a" * 64, f"s{each}", len(range(each, devices, 8)), len(range(each, devices, 8))) for each in range(8)],
        )
        opened.commit()
    return Database.open(sqlite_url(path))


def longest_view(database: Database, work: Callable[[Database], object]) -> int:
    """The most steps that any one view took."""
    steps = [0]

    def step() -> int:
        steps[-1] += 1
        return 0

    def begin(dbapi: Any, *_: object) -> None:
        steps.append(0)
        dbapi.set_progress_handler(step, _STEP)

    event.listen(database.engine, "checkout", begin)
    work(database)
    database.close()
    return max(steps)


@pytest.fixture
def trusted(database: Database) -> TrustedRoot:
    return living(database).made.trusted


def check(trusted: TrustedRoot, now: datetime = NOW) -> Callable[[Database], object]:
    return lambda database: len(list(findings.findings(database, trusted, now)))


def in_one_view(database: Database) -> None:
    """As it was once: the database looks for what does not belong, however long it takes."""
    told = or_(
        exists().where(pins.c.statement_sha256 == receipts.c.statement_sha256),
        exists().where(completions.c.statement_sha256 == receipts.c.statement_sha256),
        exists().where(pin_acts.c.act_sha256 == receipts.c.statement_sha256),
    )
    with database.read() as connection:
        assert connection.execute(select(receipts.c.statement_sha256).where(~told).limit(1000)).all() == []


def test_a_view_does_not_grow_with_the_rows(
    tmp_path: Path, migrated: bytes, trusted: TrustedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.checking.findings._DEVICES", 20)
    monkeypatch.setattr("registry.checking.chunks._ROWS", 100)
    few, many = (longest_view(filled(tmp_path, migrated, each), check(trusted)) for each in (_FEW, _MANY))
    assert many < 1.5 * few


def test_control_one_query_over_all_rows_does(tmp_path: Path, migrated: bytes) -> None:
    few, many = (longest_view(filled(tmp_path, migrated, each), in_one_view) for each in (_FEW, _MANY))
    assert many > 2.5 * few


@pytest.mark.both_databases
def test_pins_that_come_in_while_pages_are_counted_are_no_finding(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = living(database)
    for _ in range(3):
        site.device()
    more = iter([site.device] * 3)

    class Busy:
        """The same database, in which somebody pins before each look."""

        def read(self) -> Any:
            next(more, lambda: None)()
            return database.read()

    monkeypatch.setattr("registry.checking.chunks._ROWS", 1)
    busy = cast("Database", Busy())
    assert list(count_findings(busy, site.made.trusted)) == []
    assert next(more, None) is None
    with database.write() as connection:
        connection.execute(order_counts.update().values(pins=order_counts.c.pins + 1))
    assert {each.table for each in count_findings(database, site.made.trusted)} == {"order_counts"}, "control"
