"""What earlier batches left in the outbox is tried before a unit is taken. Judges no answer: the outbox does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from station.events import OutboxSent
from station.faults import Fault
from station.jobs import LedgerError
from station.jobs.store import JobStore
from station.leaves import classify
from station.line import Clock


class Sends(Protocol):
    """The outbox, as far as it is needed here."""

    async def drain_once(self) -> object:
        """Try each statement once."""


Maker = Callable[[Callable[[Fault], None]], Sends]


async def send_left_over(store: JobStore, make_outbox: Maker, within_s: float) -> OutboxSent | None:
    """Try what earlier batches left in the outbox, before a unit is taken; None if it is empty.

    A registry that does not answer keeps the batch waiting for `within_s` and no longer: the floor tries again.
    """
    found: list[Fault] = []
    try:
        before = await store.waiting()
        if before == 0:
            return None
        try:
            async with asyncio.timeout(within_s):
                await make_outbox(found.append).drain_once()
        except TimeoutError:  # cut short between or in sendings: each is repeated until its receipt is on record
            pass
        left = await store.waiting()
    except LedgerError as error:
        raise classify(error) from error
    if found:
        raise found[0]
    return OutboxSent(at=Clock().utc(), found=before, waiting=left)
