"""Which token, and the lock that processes take while they log in to it. Never talks to a token."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hsm.token import TokenUnavailableError

_WITHIN_S = 5.0
_LOOK_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Which token: PKCS#11 module, label, and what processes lock to log in to it: a file, or SoftHSM's directory.

    `profile` names the module's kind where the token itself is not to decide. `tries` is the file that remembers user
    PINs which were tried in vain; without it only the process does.
    """

    module: Path
    label: str
    lock: Path
    profile: str = ""
    tries: Path | None = None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time: SoftHSM rewrites token.object at each login; a reader in between sees a broken token.

    TokenUnavailableError when another process holds it for long: its token hangs.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _WITHIN_S
        while not _taken(descriptor):
            if time.monotonic() > until:
                raise TokenUnavailableError(
                    f"another process has been logging in to the token for {_WITHIN_S:g} s: see what holds {path}"
                )
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
