"""A private copy of a ledger's file as it is at one moment, for whoever reads all of it while the station writes.

With a rollback journal a commit waits for every reader. So the copy is taken in steps of 1 MB, the lock let go between
them; a commit in between makes SQLite begin again. After a few of those it is taken under one lock, for two seconds at
most: less than a writer waits before it gives up. Never writes to the file, never keeps a writer longer than that.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from ledger.faults import StoreError, explain_sqlite

HOLD_S = 2.0
_WITHIN_S = 30.0  # for the whole copy, while another process keeps the file locked
_STEP_PAGES = 256
_FREE_TRIES = 3
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_TOO_LARGE = (
    f"the ledger cannot be copied within {HOLD_S:g} s, and the line writes too often to copy it in between: "
    "ask again when the line rests"
)
_LOCKED = f"another process has kept the ledger locked for {_WITHIN_S:g} s: let it end, then ask again"
_NO_ROOM = (
    "there is no room for a copy of the ledger: free space in the directory for temporary files, or name another one "
    "in SQLITE_TMPDIR"
)


class _CommittedError(Exception):
    """A commit came between two steps; what was copied is not one moment's."""


@dataclass(slots=True)
class _Pace:
    """Told after each step; raises to end the copy."""

    deadline: float
    too_late: str
    restart: bool
    left: int | None = field(default=None)

    def __call__(self, status: int, remaining: int, _total: int) -> None:
        if status != sqlite3.SQLITE_DONE and time.monotonic() > self.deadline:
            raise StoreError(self.too_late)
        if status in _BUSY:
            return
        if self.restart and self.left is not None and remaining >= self.left:
            raise _CommittedError
        self.left = remaining


def copy_of(uri: str) -> sqlite3.Connection:
    """The copy, in a temporary file that ends with the connection. Raises StoreError saying what to do."""
    copy = sqlite3.connect("", check_same_thread=False)  # the pool hands it from thread to thread
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0.1, isolation_level=None)) as source:
            _fill(copy, source)
    except sqlite3.Error as error:
        copy.close()
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:  # only the copy is written
            raise StoreError(_NO_ROOM) from error
        raise explain_sqlite(error) from error
    except StoreError:
        copy.close()
        raise
    return copy


def _fill(copy: sqlite3.Connection, source: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _WITHIN_S
    for _ in range(_FREE_TRIES):
        try:
            _backup(source, copy, _Pace(deadline, _LOCKED, restart=True))
        except _CommittedError:
            continue
        return
    _under_one_lock(copy, source, deadline)


def _under_one_lock(copy: sqlite3.Connection, source: sqlite3.Connection, deadline: float) -> None:
    """From here on a commit waits: until the copy is there, or HOLD_S is over."""
    _wait_for(lambda: source.execute("BEGIN"), deadline)
    try:
        _wait_for(lambda: source.execute("SELECT count(*) FROM sqlite_schema").fetchone(), deadline)
        _backup(source, copy, _Pace(time.monotonic() + HOLD_S, _TOO_LARGE, restart=False))
    finally:
        source.execute("ROLLBACK")


def _wait_for(question: Callable[[], object], deadline: float) -> None:
    while True:
        try:
            question()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
        else:
            return


def _backup(source: sqlite3.Connection, copy: sqlite3.Connection, pace: _Pace) -> None:
    source.backup(copy, pages=_STEP_PAGES, progress=pace, sleep=0.01)
