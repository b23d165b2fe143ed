"""Small files written whole: new ones never in another's place, changed ones by rename, both durable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trust.printable import plainly


class FileThereError(Exception):
    """The file cannot be made new; the text says why and what to do."""


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A new file with this mode whatever the umask; a link or a file in its place is refused."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileThereError(f"{path}: {plainly(error)}: nothing is overwritten, choose another file") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """The file with new content and its old mode (0644 if there was none); OSError, and the old content, otherwise."""
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        write_file(temporary, data, mode)
    except FileThereError as error:
        raise OSError(str(error)) from error
    temporary.replace(path)
    _sync_directory(path.parent)


def what_it_is(mode: int) -> str:
    """What stands where another kind of file is wanted, for people; from `st_mode`."""
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for is_it, name in kinds if is_it(mode)), "a device")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
