"""How many requests of each caller are at work at once, so that one who waits in all threads keeps nobody else out.

A caller has at most so many, and never more than threads are free: the more callers want many, the fewer each of them
has, and some stay free. Never knows what is asked, and never waits.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MOST: Final = 64
"""As many as a station has units at once."""


class Shares:
    """The threads of one pool, shared out by caller. Safe to call from many threads."""

    def __init__(self, threads: int, most: int = MOST) -> None:
        self._threads, self._most = threads, most
        self._at_work: Counter[str] = Counter()
        self._turn = threading.Lock()

    @contextmanager
    def of(self, caller: str) -> Iterator[bool]:
        """Whether this caller may have one more, for as long as the block runs."""
        let_in = self._take(caller)
        try:
            yield let_in
        finally:
            if let_in:
                self._give_back(caller)

    def _take(self, caller: str) -> bool:
        with self._turn:
            free = self._threads - self._at_work.total()
            if self._at_work[caller] >= min(self._most, free):
                return False
            self._at_work[caller] += 1
            return True

    def _give_back(self, caller: str) -> None:
        with self._turn:
            self._at_work[caller] -= 1
            self._at_work += Counter()  # whoever has none is forgotten
