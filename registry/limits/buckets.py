"""How often somebody may ask: one number a client, kept in a table that never grows beyond its size.

The generic cell rate algorithm (ITU-T I.371): of each client only the time is kept at which all that it has used will
be there again. Whoever is forgotten because the table is full is a stranger again: that never keeps anybody out. Never
knows what is asked.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

CAPACITY = 16_384  # clients remembered; some 3 MB at the most, whoever asks

_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second for ever, and so many at once after a pause."""

    per_s: float
    burst: float


class Buckets:
    """What each client has left. Safe to call from many threads."""

    def __init__(self, capacity: int = CAPACITY, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._full_again: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_again)

    def full_in_s(self, client: tuple[str, ...], rate: Rate, cost: float = 1.0) -> float:
        """Seconds to wait for a request of this cost, of which nothing is taken."""
        with self._turn:
            now = self._monotonic()
            too_early_s = self._used(client, now) - now + (cost - rate.burst) / rate.per_s
            return too_early_s if too_early_s > _ROUNDING_S else 0.0

    def take(self, client: tuple[str, ...], rate: Rate, cost: float = 1.0) -> float:
        """Take a request of this cost; seconds to wait if it is too many, and then nothing is taken."""
        with self._turn:
            now = self._monotonic()
            full_again = self._used(client, now) + cost / rate.per_s
            too_early_s = full_again - now - rate.burst / rate.per_s
            if too_early_s > _ROUNDING_S:
                return too_early_s
            self._keep(client, full_again)
            return 0.0

    def charge(self, client: tuple[str, ...], rate: Rate, cost: float) -> None:
        """Take what a request turned out to cost; at most all that is left. Less than nothing gives back."""
        with self._turn:
            now = self._monotonic()
            full_again = self._used(client, now) + cost / rate.per_s
            self._keep(client, min(full_again, now + rate.burst / rate.per_s))

    def _used(self, client: tuple[str, ...], now: float) -> float:
        return max(self._full_again.get(client, now), now)

    def _keep(self, client: tuple[str, ...], full_again: float) -> None:
        self._full_again[client] = full_again
        self._full_again.move_to_end(client)
        if len(self._full_again) > self._capacity:
            self._full_again.popitem(last=False)
