"""What went wrong with the ledger's disk, in a sentence that says what to do, and whether anything may go on.

The one place that reads SQLite's error codes. Never retries: after a failed fsync nobody knows what is on the disk.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError


class StoreError(Exception):
    """The ledger cannot be read or written. `fatal`: its state on disk is unknown, this process must not go on.

    `busy`: somebody else has it locked; nothing was written, and the same work may be tried again.
    """

    def __init__(self, message: str, *, fatal: bool = False, busy: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal
        self.busy = busy


_REMEDIES = {
    sqlite3.SQLITE_FULL: ("the disk is full, nothing was written: free space on the ledger's disk, then go on", False),
    sqlite3.SQLITE_READONLY: ("the ledger is read-only: give this user write access to file and directory", False),
    sqlite3.SQLITE_BUSY: ("another process keeps the ledger locked: stop the other station process", False),
    sqlite3.SQLITE_LOCKED: ("another process keeps the ledger locked: stop the other station process", False),
    sqlite3.SQLITE_CANTOPEN: ("the ledger's file cannot be opened: check path, directory and access rights", False),
    sqlite3.SQLITE_PERM: ("the ledger's file cannot be opened: check path, directory and access rights", False),
    sqlite3.SQLITE_IOERR: (
        "the ledger's disk failed: stop, check the disk, start again and run station ledger verify",
        True,
    ),
    sqlite3.SQLITE_CORRUPT: ("the ledger's file is damaged: stop, keep the file, restore a backup beside it", True),
    sqlite3.SQLITE_NOTADB: ("the ledger's file is not a database: stop, keep the file, restore a backup", True),
}


_CUT_SHORT = (
    "a station ended in the middle of a commit, and only a station may take that back: start a batch (station run), "
    "then ask again"
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def explain(error: DBAPIError) -> StoreError:
    """The StoreError to raise from a database error."""
    return explain_sqlite(error.orig)


def explain_sqlite(error: BaseException | None) -> StoreError:
    """The StoreError to raise from an error of SQLite's driver."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_READONLY_ROLLBACK:
        return StoreError(f"{_CUT_SHORT} [{name}]")
    primary = code & 0xFF if isinstance(code, int) else -1  # the low byte is the class, the rest the detail
    sentence, fatal = _REMEDIES.get(primary, (f"the ledger refused the command ({error}): report this", False))
    return StoreError(f"{sentence} [{name}]", fatal=fatal, busy=primary in _BUSY)
