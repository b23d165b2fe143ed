"""The outbox: sends what the registry has not acknowledged, for ever, until it has. Nothing is ever dropped.

Each statement has its own back-off, so none blocks the others; a registry that gives no answer at all is left alone for
a while. Only a verified receipt or a refusal for good that is proved takes a statement out, and the ledger says so
first. Never signs, never changes a statement, never knows HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from station.cloud import REFUSED_FOR_GOOD, Cloud, CloudRefusedError, CloudUnreachableError, PinRecord
from station.faults import Fault
from station.jobs import Jobs, LedgerError, OutboxItem, RecordConflictError, RecordKind
from station.jobs.stamp import Stamp
from station.leaves import classify
from station.refusals import refusal_problem
from trust import receipt as receipts
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import JobId
from trust.root import TrustedRoot
from trust.statement import envelope

log = logging.getLogger(__name__)

_AT_ONCE = 4  # statements on their way at the same time
_AWAY_AFTER = 3  # so many statements in a row without any answer: it is the registry, not the statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait after failures: doubling from `first_s` to `cap_s`, each wait drawn from its upper half."""

    first_s: float = 0.5
    cap_s: float = 60.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        # 2^30 times the first wait is beyond any cap: the exponent need not grow with the outage
        whole = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + self.uniform() / 2)


@dataclass(frozen=True, slots=True)
class Drained:
    """What one pass over the outbox did, in statements: delivered, refused for good, still `waiting` in it.

    To `objected` of the waiting the registry answered, but with no receipt: somebody must look.
    """

    delivered: int
    refused: int
    waiting: int
    objected: int = 0


class _Outcome(Enum):
    DELIVERED = "delivered"
    REFUSED = "refused"
    OBJECTED = "objected"
    FAILED = "failed"
    NO_ANSWER = "no answer"


@dataclass(slots=True)
class _Backoff:
    failures: int = 0
    not_before: float = 0.0

    def failed(self, pace: Pace) -> None:
        self.failures += 1
        self.not_before = pace.monotonic() + pace.wait_s(self.failures)


class Outbox:
    """Sends pending statements through a cloud.

    `stop_line` is told when the ledger fails (then `run` ends) and when the registry proves that keys or nonces repeat.
    A job that is `in_work` in a slot is left to the flow, which sends its pin itself. `order` is the one that is worked
    under: its approvals may be newer than those in the ledger. `objected` hears, by a statement's SHA-256, of answers
    without a receipt.
    """

    def __init__(
        self,
        jobs: Jobs,
        cloud: Cloud,
        *,
        root: TrustedRoot,
        stamp: Stamp,
        stop_line: Callable[[Fault], None],
        in_work: Callable[[JobId], bool] = lambda _: False,
        order: Envelope | None = None,
        objected: Callable[[str, str], None] = lambda _statement, _why: None,
        pace: Pace | None = None,
    ) -> None:
        self._jobs = jobs
        self._cloud = cloud
        self._root = root
        self._stamp = stamp
        self._stop_line = stop_line
        self._in_work = in_work
        self._order = order
        self._objected = objected
        self._pace = pace or Pace()
        self._new = asyncio.Event()
        self._one_pass = asyncio.Lock()
        self._away = _Backoff()
        self._tries: dict[tuple[str, RecordKind], _Backoff] = {}

    def wake(self) -> None:
        """Something new is in the outbox: look now."""
        self._new.set()

    async def run(self) -> None:
        """Send until cancelled, or until the ledger fails (then `stop_line` has been told)."""
        while True:
            self._new.clear()
            try:
                await self._drain(patient=True)
            except LedgerError as error:
                self._stop_line(classify(error))
                return
            await self._rest()

    async def drain_once(self) -> Drained:
        """Try what is pending once, whatever its back-off, until nothing answers any more. Raises LedgerError."""
        return await self._drain(patient=False)

    async def _drain(self, *, patient: bool) -> Drained:
        async with self._one_pass:
            items = await self._jobs.pending()
            self._forget_all_but(items)
            outcomes: list[_Outcome] = []
            due = [item for item in items if not patient or (self._due(item) and not self._in_work(item.job.job_id))]
            for first in range(0, len(due), _AT_ONCE):
                outcomes += await self._attempt_all(due[first : first + _AT_ONCE], patient=patient)
                if outcomes[-_AWAY_AFTER:] == [_Outcome.NO_ANSWER] * _AWAY_AFTER:
                    self._away.failed(self._pace)
                    break
            delivered, refused = outcomes.count(_Outcome.DELIVERED), outcomes.count(_Outcome.REFUSED)
            return Drained(delivered, refused, len(items) - delivered - refused, outcomes.count(_Outcome.OBJECTED))

    async def _attempt_all(self, items: Sequence[OutboxItem], *, patient: bool) -> list[_Outcome]:
        """Side by side: a job never has two statements waiting, so their order does not matter."""
        # Looked at again: a slot may have taken a job in hand since the pass began.
        free = [item for item in items if not patient or not self._in_work(item.job.job_id)]
        found = await asyncio.gather(*(self._attempt(item) for item in free), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if isinstance(each, _Outcome)]

    async def _attempt(self, item: OutboxItem) -> _Outcome:
        outcome = await self._send(item)
        key = (str(item.job.job_id), item.kind)
        if outcome is not _Outcome.NO_ANSWER:
            self._away = _Backoff()
        if outcome in {_Outcome.DELIVERED, _Outcome.REFUSED}:
            self._tries.pop(key, None)
        else:
            self._tries.setdefault(key, _Backoff()).failed(self._pace)
        return outcome

    async def _send(self, item: OutboxItem) -> _Outcome:
        try:
            answer = await self._put(item)
        except CloudUnreachableError as error:
            log.info("%s of job %s: no answer from the registry (%s)", item.kind, item.job.job_id, error)
            return _Outcome.NO_ANSWER
        except CloudRefusedError as error:
            return await self._refused(item, error)
        return await self._answered(item, answer) if answer is not None else _Outcome.FAILED

    async def _put(self, item: OutboxItem) -> PinRecord | None:
        device = item.job.device_id
        if item.kind is RecordKind.COMPLETION:
            return await self._cloud.complete(device, item.envelope)
        order = await self._jobs.order(item.job.order_id)
        if order is None:
            log.error("order %s is not in the ledger: import it, its statements wait", item.job.order_id)
            return None
        if self._order is not None and self._order.same_statement(order):
            order = self._order
        return await self._cloud.pin(device, item.envelope, order)

    async def _answered(self, item: OutboxItem, answer: PinRecord) -> _Outcome:
        pin = item.kind is RecordKind.PIN
        receipt = answer.receipt if pin else answer.completion_receipt
        wrong = receipts.problem(self._root, item.envelope, receipt) if receipt else "there is no receipt"
        if receipt is None or wrong is not None:
            log.error("%s of job %s: the registry's answer is not taken: %s", item.kind, item.job.job_id, wrong)
            return self._objects(item, f"the registry's answer is not taken: {wrong}")
        kind = RecordKind.PIN_RECEIPT if pin else RecordKind.COMPLETION_RECEIPT
        # A crash before this commit: the statement is sent again and the registry gives the same receipt.
        return await self._record(item, kind, receipt, _Outcome.DELIVERED)

    async def _refused(self, item: OutboxItem, error: CloudRefusedError) -> _Outcome:
        log.error("%s of job %s: the registry refuses: %s (%s)", item.kind, item.job.job_id, error.code.value, error)
        if error.code not in REFUSED_FOR_GOOD:
            return self._objects(item, f"{error.code.value}: {error}")
        wrong = refusal_problem(self._root, item.envelope, error)
        if wrong is not None:
            log.error("%s of job %s: the refusal is not believed: %s", item.kind, item.job.job_id, wrong)
            return self._objects(item, f"{error.code.value}, which is not believed: {wrong}")
        kind = RecordKind.PIN_REFUSED if item.kind is RecordKind.PIN else RecordKind.COMPLETION_REFUSED
        told = self._stamp.event(kind.value, item.job, details={"code": error.code.value})
        if error.code is Code.KEY_ON_OTHER_DEVICE:  # endangers every unit of this firmware, not only this one
            self._stop_line(classify(error))
        return await self._record(item, kind, envelope(told), _Outcome.REFUSED)

    def _objects(self, item: OutboxItem, why: str) -> _Outcome:
        self._objected(item.envelope.payload_sha256, why)
        return _Outcome.OBJECTED

    async def _record(self, item: OutboxItem, kind: RecordKind, what: Envelope, outcome: _Outcome) -> _Outcome:
        try:
            await self._jobs.record(item.job.job_id, kind, what)
        except RecordConflictError as error:  # the flow was faster, or the answer changed: the next look tells
            log.warning("%s of job %s: %s", kind, item.job.job_id, error)
            return _Outcome.FAILED
        return outcome

    def _due(self, item: OutboxItem) -> bool:
        now = self._pace.monotonic()
        tried = self._tries.get((str(item.job.job_id), item.kind), _Backoff())
        return now >= max(tried.not_before, self._away.not_before)

    def _forget_all_but(self, items: tuple[OutboxItem, ...]) -> None:
        here = {(str(item.job.job_id), item.kind) for item in items}
        self._tries = {key: tried for key, tried in self._tries.items() if key in here}

    async def _rest(self) -> None:
        """Wait until the next statement is due, or until woken."""
        nearest = min((tried.not_before for tried in self._tries.values()), default=None)
        now = self._pace.monotonic()
        delay = self._pace.cap_s if nearest is None else max(nearest, self._away.not_before) - now
        woken = asyncio.ensure_future(self._new.wait())
        slept = asyncio.ensure_future(self._pace.sleep(max(delay, 0.0)))
        try:
            await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()
