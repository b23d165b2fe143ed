"""Stop-watches around the parties of a line, for the figures. They add nothing but two clock readings a call."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fixtures.device import Device
from fixtures.slot import Restarted, SlotConfig
from fixtures.slots import SerialSlot


@dataclass(slots=True)
class Watch:
    """Intervals (begin, end) by party."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    async def around(self, party: str, call: Callable[[], Awaitable[Any]]) -> Any:
        began = time.monotonic()
        try:
            return await call()
        finally:
            self.spans[party].append((began, time.monotonic()))

    def within(self, party: str, begin: float, end: float) -> float:
        """Seconds of a party inside an interval."""
        return sum(max(0.0, min(end, b) - max(begin, a)) for a, b in self.spans[party])


class Timed:
    """Any party: every coroutine method is timed under one name."""

    def __init__(self, inner: Any, party: str, watch: Watch) -> None:
        self._inner, self._party, self._watch = inner, party, watch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._watch.around(self._party, lambda: method(*args, **kwargs))

        return call


class TimedSlot(SerialSlot):
    """A slot whose power cycles are timed as boot."""

    def __init__(self, config: SlotConfig, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    async def cycle(self, device: Device) -> Restarted:
        restarted: Restarted = await self._watch.around("boot", lambda: super(TimedSlot, self).cycle(device))
        return restarted
