"""Passwords at the registry: what is a good one, and their slow verification in two lanes beside everything else.

A lane takes one evaluation at a time and lets a few wait: who guesses from unknown places can fill only the strangers'
lane, and holds at most as many of the request threads as may wait there. Keeps no password.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from registry.access.denied import DeniedError
from registry.errors import RefusedError
from trust import verifier
from trust.codes import Code
from trust.verifier import PASSWORD, Cost, normal

SHORTEST: Final = 15  # NIST SP 800-63B-4 §3.1.1.2, where the password may be the only factor: at a station, offline
LONGEST: Final = 128  # it asks for at least 64
_DIFFERENT: Final = 6  # characters: "aaaaaaaaaaaaaaa" and "121212121212121" are in every list of guesses
_WAITING: Final = 3
_TOO_MANY, _PAUSE_S = 429, 2
_COMMON: Final = ("password", "qwertyuiop", "1234567890", "letmein", "abcdefghij", "keystation")


class Lane:
    """One evaluation at a time, a few waiting; the rest is sent away at once."""

    def __init__(self, waiting: int = _WAITING) -> None:
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn; DeniedError (429) if too many wait already. Nothing was tried then."""
        if not self._places.acquire(blocking=False):
            text = "too many sign in at this moment: nothing was tried, do it again in a moment"
            raise DeniedError(_TOO_MANY, Code.TOO_MANY_TRIES, text, (("retry-after", str(_PAUSE_S)),))
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


class Passwords:
    """Verifiers of one cost, and the lanes of one process. Safe to call from many threads."""

    def __init__(self, cost: Cost = PASSWORD) -> None:
        self._cost = cost
        self.known, self.strangers = Lane(), Lane()
        self.nobodys = verifier.verifier("nobody has this password", cost)
        """What an unknown user's password is compared with, so that it takes as long as any."""

    def made(self, password: str) -> str:
        """A verifier with a salt of its own."""
        return verifier.verifier(normal(password), self._cost)

    def holds(self, kept: str, password: str) -> bool:
        """Whether it is this password. Call it within a lane's turn."""
        return verifier.holds(kept, normal(password))

    def is_stale(self, kept: str) -> bool:
        """Whether the verifier is to be made anew at the next chance."""
        return verifier.is_stale(kept, self._cost)


def require_good(password: str, user_id: str) -> None:
    """A password that is worth its verifier; PASSWORD_WEAK says what it lacks."""
    text = normal(password)
    folded = text.casefold()
    if not SHORTEST <= len(text) <= LONGEST:
        raise _weak(f"a password has {SHORTEST} to {LONGEST} characters: take a few words")
    if len(set(folded)) < _DIFFERENT:
        raise _weak(f"a password has at least {_DIFFERENT} different characters")
    if any(each in folded for each in (*_COMMON, user_id)):
        raise _weak("this password holds what is guessed first: leave out your id, and words such as password")


def _weak(text: str) -> RefusedError:
    return RefusedError(Code.PASSWORD_WEAK, text)
