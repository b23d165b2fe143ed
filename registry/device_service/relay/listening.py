"""The file of the relay's socket: made where nobody answers, in a directory closed to others, removed at the end.

Never touches anything but a socket: what the settings name by mistake stays as it is.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry.settings import FILE, SetupError
from trust.printable import plainly

DIRECTORY_MODE: Final = 0o750
SOCKET_MODE: Final = 0o660
_BACKLOG: Final = 128
_PROBE_S: Final = 1.0
_REMEDY: Final = f"correct relay_socket in {FILE}"


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket that only owner and group can reach, from its first moment; its file goes with it.

    SetupError when another program holds it or answers there, or something else than a socket is there.
    """
    try:
        path.parent.mkdir(DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{path.parent}: {plainly(error)}: make it, or {_REMEDY}") from error
    _require_closed(path.parent)
    _is_left(path)  # before a lock is made beside what is none of ours
    with _alone(path):
        if _is_left(path):
            path.unlink(missing_ok=True)
        bound = _bound(path)
        mine = _identity(path)
        try:
            yield bound
        finally:
            bound.close()
            if mine is not None and _identity(path) == mine:
                path.unlink(missing_ok=True)


def _require_closed(directory: Path) -> None:
    """Between making a socket and closing it to others, the directory is what keeps them out."""
    mode = directory.stat().st_mode
    if mode & 0o027:
        text = f"{directory} has mode {stat.S_IMODE(mode):04o}: let nobody else in (chmod 0750), or {_REMEDY}"
        raise SetupError(text)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One program a socket: between two that start at once, asking whether somebody answers would not do.

    The kernel drops the lock when the process dies, however it dies.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{lock}: {plainly(error)}: it belongs to the socket; {_REMEDY}") from error
    with os.fdopen(descriptor, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _taken(path) from error
        yield


def _bound(path: Path) -> socket.socket:
    """Takes connections when this returns."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        path.chmod(SOCKET_MODE)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise SetupError(f"socket {path}: {plainly(error)}: {_REMEDY}") from error
    return made


def _is_left(path: Path) -> bool:
    """Whether a crash has left a socket there, on which nobody answers; SetupError if somebody does, or it is none.

    Who listens there need not be one of us, and have no lock.
    """
    if not _is_there(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return False
        except ConnectionRefusedError:
            return True
        except OSError as error:  # a full queue, another kind of socket: there may be somebody
            raise SetupError(f"socket {path}: {plainly(error)}: stop what uses it, or {_REMEDY}") from error
    raise _taken(path)


def _is_there(path: Path) -> bool:
    """Whether a socket is there; SetupError for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SetupError(f"socket {path}: {plainly(error)}: {_REMEDY}") from error
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"{path} is no socket: {_REMEDY}; nothing was removed")
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, so that the end removes no other one's."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _taken(path: Path) -> SetupError:
    return SetupError(f"another program holds the socket {path}: stop that one first, or {_REMEDY}")
