"""What waits in the outbox, in words: how much, for how long, and what the registry has objected to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Protocol

from station.jobs import OutboxItem, RecordKind
from trust.printable import printable
from trust.statement import Completion, PinStatement, read

_HOUR, _DAY = 60, 24 * 60  # minutes
_PAGE = 200


class Waiting(Protocol):
    """The outbox of `station.jobs.Jobs`, for reading."""

    async def waiting(self) -> int:
        """How many statements are in it."""

    async def pending(self, after: int = -1, most: int | None = None) -> tuple[OutboxItem, ...]:
        """Those behind this place, oldest first, at most so many."""


async def left_over(jobs: Waiting, now: dt.datetime) -> str:
    """How many statements wait in the outbox, and for how long the one that went in first has. Raises LedgerError."""
    waiting, first = await jobs.waiting(), await jobs.pending(most=1)
    if not first:
        return "nothing waits for the registry"
    count = "1 statement waits" if waiting == 1 else f"{waiting} statements wait"
    oldest = "" if waiting == 1 else "the oldest "
    return f"{count} for the registry, {oldest}for {_in_words(now - _made_at(first[0]))} (the next batch sends first)"


async def objections(jobs: Waiting, told: Mapping[str, str]) -> tuple[str, ...]:
    """Of what still waits, what the registry has answered without a receipt, each with its words. Raises LedgerError.

    Read a page at a time: what a week without the registry leaves is more than belongs into memory.
    """
    found: list[str] = []
    page = await jobs.pending(most=_PAGE) if told else ()
    while page:
        objected = ((item, told.get(item.envelope.payload_sha256)) for item in page)
        found += [
            f"{item.kind} of device {item.job.device_id}: {printable(why)}" for item, why in objected if why is not None
        ]
        page = await jobs.pending(page[-1].place, _PAGE)
    return tuple(found)


def _made_at(item: OutboxItem) -> dt.datetime:
    completed = item.kind is RecordKind.COMPLETION
    at = read(item.envelope, Completion).made_at if completed else read(item.envelope, PinStatement).made_at
    return dt.datetime.fromisoformat(at)


def _in_words(age: dt.timedelta) -> str:
    minutes = max(0, int(age.total_seconds())) // 60
    if minutes < _HOUR:
        return f"{minutes} min"
    return f"{minutes // _HOUR} h {minutes % _HOUR} min" if minutes < _DAY else f"{minutes // _DAY} days"
