"""The one reader of files that people give: settings, trust root, order, slots, certificate (docs/decisions/0016).

A file is read once, whole, and no further than a limit. A pipe, a device or a directory in its place is refused: nobody
knows their end, and opening some of them waits for ever. Must never look at what it reads, write, or know who asks.
Loads almost nothing: every program begins here (`given.interrupt`).
"""

from __future__ import annotations

import errno
import os
import stat

MAX_BYTES = 1 << 20  # more than any such file needs; how much each may have is said by who reads it


def read(path: os.PathLike[str]) -> bytes:
    """The file's bytes. OSError, and nothing else, whose `strerror` says what is the matter."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in its name
        raise OSError(errno.EINVAL, "no file can have this name") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
    return data
