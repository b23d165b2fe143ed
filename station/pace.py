"""How long is waited before something is tried again: doubling, capped, for ever, each wait drawn at random. Pure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_DOUBLINGS = 30  # 2^30 times the first wait is beyond any cap: the exponent need not grow with the outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waits after failures, each drawn evenly from nothing to the whole, which doubles from `first_s` to `cap_s`.

    Drawn from the whole ("full jitter"): stations that lost the registry at one moment do not come back at one moment.
    """

    first_s: float = 0.5
    cap_s: float = 60.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        return min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, _DOUBLINGS)) * self.uniform()


@dataclass(slots=True)
class Backoff:
    """How often something has failed in a row, and when it is tried next.

    `alone`: it got no answer while something else did, so it goes by itself and takes nothing along.
    """

    failures: int = 0
    not_before: float = 0.0
    alone: bool = False

    def failed(self, pace: Pace, *, after_s: float = 0.0) -> None:
        """Once more. `after_s`: how long it is to be left alone at least; no longer than any other wait may be."""
        self.failures += 1
        self.not_before = pace.monotonic() + max(min(after_s, pace.cap_s), pace.wait_s(self.failures))
