"""The disk below the station's files, before anything begins: whether we may write there, and whether there is room.

Must never be held around work on units: what fails then is the ledger's fault, not set-up's.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from station.faults import fault

_FULL = "Free disk space"
_REFUSED = "Let the station's user read and write there"
_IN_THE_WAY = "A file stands where a directory must be: move it"
_REMEDIES = {
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL,
    errno.EACCES: _REFUSED, errno.EPERM: _REFUSED, errno.EROFS: _REFUSED,
    errno.ENOTDIR: _IN_THE_WAY, errno.EEXIST: _IN_THE_WAY,
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
        raise fault("setup", f"{what}. {remedy}, or name another `state` in the settings.") from error


def enough_disk(directory: Path, reserve_mb: int) -> None:
    """Refuse to begin below the reserve: units in work must be able to finish."""
    free_mb = free_at(directory)
    if free_mb < reserve_mb:
        raise fault("ledger-failed", f"{free_mb} MB free for {directory}, the reserve is {reserve_mb} MB")


def free_at(directory: Path) -> int:
    """Megabytes free where the directory is, or would be made; the fault `setup` if that cannot be known."""
    with usable(directory):
        place = next(path for path in (directory, *directory.parents) if path.exists())
        return shutil.disk_usage(place).free // 1_000_000
