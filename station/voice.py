"""Carries the line's events to whoever listens. Never blocks the line: a slow listener only delays itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from station.events import AnyEvent

_Ears = asyncio.Queue[AnyEvent | None]


class Voice:
    """Hands each event to everyone who listens."""

    def __init__(self) -> None:
        self._listeners: list[_Ears] = []

    def say(self, event: AnyEvent) -> None:
        """Give the event to all."""
        for ears in self._listeners:
            ears.put_nowait(event)

    def end(self) -> None:
        """No more events in this batch."""
        for ears in self._listeners:
            ears.put_nowait(None)

    def listen(self) -> AsyncIterator[AnyEvent]:
        """Events from this call on, whenever they are asked for, until the end."""
        ears = _Ears()
        self._listeners.append(ears)
        return self._heard(ears)

    async def _heard(self, ears: _Ears) -> AsyncIterator[AnyEvent]:
        try:
            while (event := await ears.get()) is not None:
                yield event
        finally:
            self._listeners.remove(ears)
