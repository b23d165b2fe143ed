"""Which token, and the lock that processes take while they log in to it. Never talks to a token."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Which token: PKCS#11 module, label, and the file that processes lock while they log in to it.

    `profile` names the module's kind where the token itself is not to decide.
    """

    module: Path
    label: str
    lock: Path
    profile: str = ""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time: SoftHSM rewrites token.object at each login; a reader in between sees a broken token."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
