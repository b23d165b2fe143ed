"""The disk below the station's files, before anything begins: whether we may write there, and whether there is room.

Must never be held around work on units: what fails then is the ledger's fault, not set-up's.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from station.faults import fault

_FULL = "Free disk space"
_REFUSED = "Let the station's user read and write there"
_IN_THE_WAY = "A file stands where a directory must be: move it"
_NO_FILE = "Correct `database` in the settings"
_SOME_BYTES = 65_536  # more than a unit's leaves
_REMEDIES = {
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL,
    errno.EACCES: _REFUSED, errno.EPERM: _REFUSED, errno.EROFS: _REFUSED,
    errno.ENOTDIR: _IN_THE_WAY, errno.EEXIST: _IN_THE_WAY, errno.EISDIR: _NO_FILE,
}  # fmt: skip


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """What the operating system refuses in the block becomes the fault `setup`: which path, why, and what to do.

    `path` stands in the text where the error itself names none.
    """
    try:
        yield
    except OSError as error:
        what = f"{error.filename or path}: {error.strerror or error}"
        remedy = _REMEDIES.get(error.errno or 0, "Look at this path")
        raise fault("setup", f"{what}. {remedy}; begin no other ledger elsewhere.") from error


def enough_disk(directory: Path, reserve_mb: int) -> None:
    """Refuse to begin below the reserve: units in work must be able to finish."""
    free_mb = free_at(directory)
    if free_mb < reserve_mb:
        raise fault("ledger-failed", f"{free_mb} MB free for {directory}, the reserve is {reserve_mb} MB")


def free_at(directory: Path) -> int:
    """Megabytes free where the directory is, or would be made; the fault `setup` if that cannot be known."""
    with usable(directory):
        return shutil.disk_usage(_there(directory)).free // 1_000_000


def require_writable(database: Path) -> None:
    """The fault `setup` unless this user may write the ledger, and the disk takes something; leaves nothing behind."""
    with usable(database):
        no_directory(database)
        for each in (database, database.with_name(database.name + ".lock")):
            if each.exists() and not os.access(each, os.R_OK | os.W_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, f"may not be written by {_me()}", each)
        place = _there(database.parent)
        try:
            with tempfile.TemporaryFile(dir=place, buffering=0) as file:  # without a name, where the system can
                os.posix_fallocate(file.fileno(), 0, _SOME_BYTES)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror or error} ({_me()})", place) from error


def no_directory(database: Path) -> None:
    """IsADirectoryError where a directory stands in the ledger's place."""
    if database.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a directory, where `database` must name the ledger's file", database)


def named(error: Exception, file: Path) -> str:
    """What an error says, with the file it is about."""
    text = str(error)
    return text if str(file) in text else f"{file}: {text}"


def _there(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())


def _me() -> str:
    own = os.geteuid()
    try:
        return f"user {pwd.getpwuid(own).pw_name}"
    except KeyError:
        return f"user id {own}"
