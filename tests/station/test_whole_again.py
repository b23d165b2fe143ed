"""When a unit that had passed goes on record as verified again: what may have opened it since, here or elsewhere."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from station.attempt import Attempt
from station.faults import Fault
from station.jobs import LedgerError
from station.jobs.leaf import VERIFIED_AGAIN
from station.rework.bench import ENDED
from station.rework.look import Look
from trust.identity import DeviceId
from trust.statement import Event

DEVICE = DeviceId(b"\x01" * 12)
LOOK = Look("ab" * 32, frozenset({"cd" * 32}))


def event(kind: str, **details: str) -> Event:
    return Event(
        environment="demo", root_sha256="ef" * 32, station="st-01", kind=kind, at="2026-01-31T12:00:00Z",
        device_id=str(DEVICE), details=details,
    )  # fmt: skip


def noted(*told: Event, locked: bool = True, look: Look = LOOK, ledger: Exception | None = None) -> list[Event]:
    """What a verification puts on record after these events."""
    found: list[Event] = []

    async def told_of(*_: object) -> tuple[Event, ...]:
        return told

    async def note(each: Event) -> None:
        if ledger is not None:
            raise ledger
        found.append(each)

    clock = SimpleNamespace(monotonic=lambda: 0.0, utc=lambda: "2026-01-31T12:00:01Z")
    line: Any = SimpleNamespace(
        clock=clock, jobs=SimpleNamespace(told_of=told_of, note=note), station="st-01",
        work=SimpleNamespace(environment="demo"), root=SimpleNamespace(sha256="ef" * 32),
    )  # fmt: skip
    slot: Any = SimpleNamespace(config=SimpleNamespace(name="slot-01", emulated=True))
    identity: Any = SimpleNamespace(device_id=DEVICE, locked=locked)
    asyncio.run(Attempt(line, slot)._whole_again(identity, look))
    return found


def test_words_that_nobody_here_has_heard() -> None:
    (made,) = noted()
    assert (made.kind, Look.told(made.details)) == (VERIFIED_AGAIN, LOOK)
    assert noted(made) == [], "once is enough"
    assert len(noted(made, look=Look("ab" * 32, LOOK.words | {"12" * 32}))) == 1


@pytest.mark.parametrize("change", ["unlock", "new-anchor", "new-key"])
def test_a_rework_that_ended_well_here_covers_what_the_registry_showed_to_it(change: str) -> None:
    ended = event(ENDED, verdict="PASS", change=change, fingerprint="34" * 32, **LOOK.details())
    assert len(noted(ended)) == (1 if change == "unlock" else 0)


def test_one_that_came_open_by_no_word() -> None:
    assert noted(look=Look("ab" * 32, frozenset())) == []
    assert len(noted(look=Look("ab" * 32, frozenset()), locked=False)) == 1


def test_a_ledger_that_does_not_take_it_is_no_pass() -> None:
    with pytest.raises(Fault, match="ledger"):
        noted(ledger=LedgerError("planted"))
