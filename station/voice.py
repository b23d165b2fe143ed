"""Carries the line's events to whoever listens. Never blocks the line: a slow listener only delays itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from station.events import AnyEvent


class Voice:
    """Hands each event to everyone who listens."""

    def __init__(self) -> None:
        self._listeners: list[asyncio.Queue[AnyEvent | None]] = []

    def say(self, event: AnyEvent) -> None:
        """Give the event to all."""
        for queue in self._listeners:
            queue.put_nowait(event)

    def end(self) -> None:
        """No more events in this batch."""
        for queue in self._listeners:
            queue.put_nowait(None)

    async def listen(self) -> AsyncIterator[AnyEvent]:
        """Events from now on until the end."""
        queue: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.remove(queue)
