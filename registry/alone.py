"""One serving process on a registry's SQLite file: two would each keep the other waiting, and share one signer's turn.

The kernel drops the lock when the process dies, however it dies; the file itself means nothing. Never for a database
server, which many processes may share.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from registry.settings import Home, SetupError
from trust.printable import plainly

LOCK = "serving.lock"


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold the directory's lock while the block runs; SetupError if another process serves it."""
    if not home.on_file and not home.config.database.startswith("sqlite"):
        yield
        return
    path = home.directory / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}: let the registry's user write there") from error
    with os.fdopen(descriptor, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                f"another process serves {home.directory}: a SQLite file takes one; stop that one first"
            ) from error
        yield
