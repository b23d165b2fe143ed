"""The floor as screens and scripts see it: commands in, events out, all serialisable. Nobody reaches past it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from station.events import AnyEvent, BatchFinished


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: how many units (None: one a slot), in which slots (none named: all), how often to retry a unit."""

    count: int | None = None
    slots: tuple[str, ...] = ()
    retries: int = 1


class FloorPort(Protocol):
    """One line at work."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots, in the order of the jig."""

    def events(self) -> AsyncIterator[AnyEvent]:
        """Everything from now on; ends after the batch's end."""

    async def run(self, batch: Batch) -> BatchFinished:
        """Serve the slots until the batch is done or the line stops."""

    def stop(self) -> None:
        """Take no further unit; units in work come to their end."""
