"""Statements on their way to the registry, one by one or many in one request: what came back for each.

A request of many that gets no answer says nothing of any one of them: the next one is half as long, down to one, and
doubles when it is answered. So one statement that the registry cannot take, in whatever way, is soon by itself. Never
decides what an answer means, and never writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from station.cloud import BatchCloud, Cloud, CloudRefusedError, CloudUnreachableError, Sent
from station.jobs import Jobs, OutboxItem, RecordKind
from trust.codes import Code
from trust.dsse import Envelope

log = logging.getLogger(__name__)

AT_ONCE = 4  # statements on their way at the same time, one by one
MOST = 250  # in one request
MOST_BYTES = 3_000_000  # a registry takes 4 MiB
_ANSWERS = (CloudRefusedError, CloudUnreachableError)


@dataclass(frozen=True, slots=True)
class OrderMissing:
    """The order of a statement is not in the ledger, so it was not sent."""

    order_id: str


Came = Envelope | CloudRefusedError | CloudUnreachableError | OrderMissing | None
"""What came back for one statement: its receipt (None: an answer without one), a refusal, no answer; or never sent."""


class Sender:
    """Sends items of the outbox. `order` is the one that is worked under: its approvals may be newer."""

    def __init__(self, jobs: Jobs, cloud: Cloud, order: Envelope | None) -> None:
        self._jobs = jobs
        self._cloud = cloud
        self._many = cloud if isinstance(cloud, BatchCloud) else None
        self._order = order
        self._most = MOST

    def next_few(self, due: Sequence[OutboxItem]) -> int:
        """How many of these, from the first, go next."""
        if self._many is None or self._most < AT_ONCE or len(due) <= AT_ONCE:
            return min(AT_ONCE, len(due))
        size = 0
        for number, item in enumerate(due[: self._most]):
            size += 4 * len(item.envelope.payload) // 3 + 1_000
            if size > MOST_BYTES:
                return max(1, number)
        return min(self._most, len(due))

    async def send(self, items: Sequence[OutboxItem]) -> list[Came] | None:
        """What came back for each; None for a request of many without an answer that tells of each."""
        if self._many is None or len(items) <= AT_ONCE:
            found = await _all([self.one(item) for item in items])
            if any(not isinstance(each, CloudUnreachableError) for each in found):
                self._most = min(MOST, max(AT_ONCE, self._most * 2))
            return found
        wanted = [await self._sent(item) for item in items]
        try:
            came = iter(await self._many.batch([each for each in wanted if isinstance(each, Sent)]))
        except CloudUnreachableError as error:
            log.info("%d statements in one request: no answer from the registry (%s)", len(items), error)
            if error.after_s:  # nobody has looked at them, so fewer would not help: each is told when it may go again
                return [error] * len(items)
        except CloudRefusedError as error:
            log.warning("%d statements in one request: the registry refuses: %s (%s)", len(items), error.code, error)
            if error.code is Code.NOT_FOUND:  # an older registry
                self._many = None
        else:
            self._most = min(MOST, self._most * 2)
            return [next(came) if isinstance(each, Sent) else each for each in wanted]
        self._most = max(1, len(items) // 2)
        return None

    async def one(self, item: OutboxItem) -> Came:
        """What came back for a statement that is sent by itself."""
        sent = await self._sent(item)
        if isinstance(sent, OrderMissing):
            return sent
        try:
            if sent.order is None:
                return (await self._cloud.complete(sent.device, sent.statement)).completion_receipt
            return (await self._cloud.pin(sent.device, sent.statement, sent.order)).receipt
        except (CloudRefusedError, CloudUnreachableError) as error:
            return error

    async def _sent(self, item: OutboxItem) -> Sent | OrderMissing:
        device = item.job.device_id
        if item.kind is RecordKind.COMPLETION:
            return Sent(device, item.envelope)
        order = await self._jobs.order(item.job.order_id)
        if order is None:
            return OrderMissing(item.job.order_id)
        if self._order is not None and self._order.same_statement(order):
            order = self._order
        return Sent(device, item.envelope, order)


async def _all(work: Sequence[Coroutine[Any, Any, Came]]) -> list[Came]:
    """Side by side; whatever is no answer of a registry is raised when all have ended."""
    found = await asyncio.gather(*work, return_exceptions=True)
    came: list[Came] = []
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, _ANSWERS):
            raise each
        came.append(each)
    return came
