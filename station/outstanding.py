"""What waits in the outbox, in words: how much, for how long, and what the registry has objected to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from station.jobs import OutboxItem, RecordKind
from trust.printable import printable
from trust.statement import Completion, PinStatement, read

_HOUR, _DAY = 60, 24 * 60  # minutes


def left_over(waiting: Sequence[OutboxItem], now: dt.datetime) -> str:
    """How many statements wait in the outbox, and for how long the oldest has."""
    if not waiting:
        return "nothing waits for the registry"
    age = now - min(_made_at(item) for item in waiting)
    count = "1 statement waits" if len(waiting) == 1 else f"{len(waiting)} statements wait"
    oldest = "" if len(waiting) == 1 else "the oldest "
    return f"{count} for the registry, {oldest}for {_in_words(age)} (the next batch sends first)"


def objections(waiting: Sequence[OutboxItem], told: Mapping[str, str]) -> tuple[str, ...]:
    """Of what still waits, what the registry has answered without a receipt, each with its words."""
    found = (
        (f"{item.kind} of device {item.job.device_id}", told.get(item.envelope.payload_sha256)) for item in waiting
    )
    return tuple(f"{what}: {printable(why)}" for what, why in found if why is not None)


def _made_at(item: OutboxItem) -> dt.datetime:
    completed = item.kind is RecordKind.COMPLETION
    at = read(item.envelope, Completion).made_at if completed else read(item.envelope, PinStatement).made_at
    return dt.datetime.fromisoformat(at)


def _in_words(age: dt.timedelta) -> str:
    minutes = max(0, int(age.total_seconds())) // 60
    if minutes < _HOUR:
        return f"{minutes} min"
    return f"{minutes // _HOUR} h {minutes % _HOUR} min" if minutes < _DAY else f"{minutes // _DAY} days"
