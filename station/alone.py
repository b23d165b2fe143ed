"""One station process a ledger, one demo a plant: a lock file beside it, held while the work goes on.

The kernel drops the lock when the process dies, however it dies; the file itself means nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from station.disk import usable
from station.faults import fault


@contextmanager
def alone_with(database: Path) -> Iterator[None]:
    """Hold the lock of a database or directory; the fault `setup` if another process has it or it cannot be made."""
    lock = _open(database.with_name(database.name + ".lock"))
    try:
        _take(lock, database)
        yield
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    with usable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _take(lock: int, database: Path) -> None:
    with usable(database):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = f"another process of the station is at work with {database}: let it end first"
            raise fault("setup", text) from error
