"""The file of the signer's socket: made where nobody answers, taken away while it is one's own.

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

from hsm.config import SetupError
from hsm.files import what_it_is
from trust.printable import plainly

_MODE = 0o660
BACKLOG = 128
_PROBE_S = 1.0
_REMEDY = "correct `socket` in signer.toml"


def require_socket_or_nothing(path: Path) -> None:
    """SetupError unless a socket may be made here: there is nothing, or a socket already."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SetupError(f"socket path {path}: {plainly(error)}: {_REMEDY}") from error
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"socket path {path} is {what_it_is(mode)}, no socket: {_REMEDY}; nothing was removed")


def lock_of(path: Path) -> Path:
    """The lock of whoever listens there."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket that only owner and group can reach, from its first moment; its file goes with it.

    SetupError when somebody answers there, or something else than a socket is there.
    """
    with _alone(path):
        _clear(path)
        bound = _bound(path)
        mine = _identity(path)
        try:
            yield bound
        finally:
            bound.close()
            if mine is not None and _identity(path) == mine:
                path.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One signer a socket: between two that start at once, asking whether somebody answers would not do."""
    lock = lock_of(path)
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


def _clear(path: Path) -> None:
    """Away with a socket that nobody answers on: a crash has left it."""
    require_socket_or_nothing(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:  # a full queue, another kind of socket: there may be somebody
            raise SetupError(f"socket {path}: {plainly(error)}: end what uses it, or {_REMEDY}") from error
    raise _taken(path)


def _bound(path: Path) -> socket.socket:
    """The directory is 0750 already. It takes connections when this returns: who asks from now on is answered."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        path.chmod(_MODE)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise SetupError(f"socket {path}: {plainly(error)}: {_REMEDY}") from error
    return made


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _taken(path: Path) -> SetupError:
    return SetupError(f"somebody answers on socket {path}: stop that signer, or {_REMEDY}")
