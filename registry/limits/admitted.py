"""Whose credentials held a short while ago: no stranger who shares their address uses up what they may ask.

In memory, of one process, as digests; a table of fixed size. Must never let anybody in: the guard judges every request.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

CAPACITY = 4096  # credentials remembered, the newest
GOOD_FOR_S = 600.0  # a station's token lives as long


class Admitted:
    """The `Authorization` fields that were let in, or other words for who was. Safe to call from many threads."""

    def __init__(
        self,
        capacity: int = CAPACITY,
        *,
        good_for_s: float = GOOD_FOR_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity, self._good_for_s = capacity, good_for_s
        self._monotonic = monotonic
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._turn = threading.Lock()

    def remember(self, shown: str) -> None:
        """The guard has just let these in, or they have just been given out."""
        digest = _digest(shown)
        with self._turn:
            self._until[digest] = self._monotonic() + self._good_for_s
            self._until.move_to_end(digest)
            if len(self._until) > self._capacity:
                self._until.popitem(last=False)

    def knows(self, shown: str) -> bool:
        """Whether these were let in within the last ten minutes, or the time that was given."""
        with self._turn:
            return self._until.get(_digest(shown), 0.0) > self._monotonic()


def _digest(shown: str) -> bytes:
    return hashlib.sha256(shown.encode("latin-1", "replace")).digest()
