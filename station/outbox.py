"""The outbox: sends what the registry has not acknowledged, for ever, until it has. Nothing is ever dropped.

Many at once where many wait (`station.sending`). Each statement has its own back-off, so none blocks the others; a
registry that gives no answer at all is left alone for a while. Only a verified receipt or a refusal for good that is
proved takes a statement out, and the ledger says so first. Never signs, never changes a statement, never knows HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from station.cloud import REFUSED_FOR_GOOD, Cloud, CloudRefusedError, CloudUnreachableError
from station.faults import Fault
from station.jobs import Job, Jobs, LedgerError, OutboxItem, RecordConflictError, RecordKind
from station.jobs.stamp import Stamp
from station.leaves import classify
from station.pace import Backoff, Pace
from station.raising import bring_raises
from station.refusals import refusal_problem
from station.sending import Came, OrderMissing, Sender
from trust import receipt as receipts
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import JobId
from trust.root import TrustedRoot
from trust.statement import envelope

log = logging.getLogger(__name__)

_AWAY_AFTER = 3  # so many requests in a row without any answer: it is the registry, not the statement
_PAGE = 500  # statements that are looked at together: the rest of a long outbox stays on disk
_FEW = 20  # and of a registry that was away at the last look, as many as are tried


@dataclass(frozen=True, slots=True)
class Drained:
    """What one pass over the outbox did, in statements: delivered, refused for good, still `waiting` in it.

    To `objected` of the waiting the registry answered, but with no receipt: somebody must look.
    """

    delivered: int
    refused: int
    waiting: int
    objected: int = 0


_Key = tuple[str, RecordKind]


class _Outcome(Enum):
    DELIVERED = "delivered"
    REFUSED = "refused"
    OBJECTED = "objected"
    FAILED = "failed"
    NO_ANSWER = "no answer"


class Outbox:
    """Sends pending statements through a cloud.

    `stop_line` is told when the ledger fails (then `run` ends) and when the registry proves that keys or nonces repeat.
    A job that is `in_work` in a slot is left to the flow, which sends its pin itself. `order` is the one that is worked
    under: its approvals may be newer than those in the ledger. `objected` hears, by a statement's SHA-256, of answers
    without a receipt; `numbered` whether the registry has a number of its order for a job's pin.
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
        numbered: Callable[[Job, bool], None] = lambda _job, _numbered: None,
        pace: Pace | None = None,
    ) -> None:
        self._jobs = jobs
        self._cloud = cloud
        self._sender = Sender(jobs, cloud, order)
        self._root = root
        self._stamp = stamp
        self._stop_line = stop_line
        self._in_work = in_work
        self._objected = objected
        self._numbered = numbered
        self._pace = pace or Pace()
        self._new = asyncio.Event()
        self._one_pass = asyncio.Lock()
        self._away = Backoff()
        self._silent = 0
        self._after_s = 0.0
        self._behind = -1
        self._tries: dict[_Key, Backoff] = {}

    def wake(self) -> None:
        """Something new is in the outbox: look now."""
        self._new.set()

    async def run(self) -> None:
        """Send until cancelled, or until the ledger fails (then `stop_line` has been told)."""
        while True:
            self._new.clear()
            try:
                if self._pace.monotonic() >= self._away.not_before:
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
            self._silent, self._after_s = 0, 0.0
            told: Counter[_Outcome] = Counter()
            first, seen = self._behind, set[_Key]()
            async for page in self._pages(first):
                seen |= {_key(item) for item in page}
                self._behind = page[-1].place  # if this pass ends early, the next one goes on there
                told += await self._send_page(page, patient=patient)
                if self._silent >= _AWAY_AFTER:
                    self._away.failed(self._pace, after_s=self._after_s)
                    break
            else:
                self._behind = -1
                self._tries = {key: tried for key, tried in self._tries.items() if key in seen}
            waiting = await self._jobs.waiting()
            return Drained(told[_Outcome.DELIVERED], told[_Outcome.REFUSED], waiting, told[_Outcome.OBJECTED])

    async def _pages(self, first: int) -> AsyncIterator[tuple[OutboxItem, ...]]:
        """The whole outbox once, from behind this place on and round."""
        for begin, end in ((first, None), (-1, first)):
            behind = begin
            while end is None or behind < end:
                page = await self._jobs.pending(behind, _FEW if self._away.failures else _PAGE)
                page = tuple(item for item in page if end is None or item.place <= end)
                if not page:
                    break
                behind = page[-1].place
                yield page

    async def _send_page(self, page: Sequence[OutboxItem], *, patient: bool) -> Counter[_Outcome]:
        """Those first that have failed the least, so that what fails again and again is in nobody's way."""
        due = [item for item in page if not patient or self._due(item)]
        due.sort(key=lambda item: self._tried(item).failures)
        told: Counter[_Outcome] = Counter()
        for alone in (False, True):
            left = [item for item in due if self._tried(item).alone is alone]
            while left and self._silent < _AWAY_AFTER:
                few = 1 if alone else self._sender.next_few(left)
                # Looked at again: a slot may have taken a job in hand since the pass began.
                free = [item for item in left[:few] if not patient or not self._in_work(item.job.job_id)]
                came = await self._sender.send(free) if free else []
                if came is None:  # of many: the same ones again, fewer at a time
                    self._silent += 1
                    continue
                told += await self._settle(free, came)
                left = left[few:]
        return told

    async def _settle(self, items: Sequence[OutboxItem], came: Sequence[Came]) -> Counter[_Outcome]:
        """Side by side: a job never has two statements waiting, so their order does not matter."""
        found = await asyncio.gather(
            *(self._came(item, each) for item, each in zip(items, came, strict=True)), return_exceptions=True
        )
        outcomes: list[_Outcome] = []
        for each in found:
            if isinstance(each, BaseException):
                raise each
            outcomes.append(each)
        answered = any(outcome is not _Outcome.NO_ANSWER for outcome in outcomes)
        self._silent = 0 if answered else self._silent + len(outcomes)
        if answered:
            self._away = Backoff()
        for item, answer, outcome in zip(items, came, outcomes, strict=True):
            if outcome in {_Outcome.DELIVERED, _Outcome.REFUSED}:
                self._tries.pop(_key(item), None)
                continue
            tried = self._tries.setdefault(_key(item), Backoff())
            after_s = answer.after_s if isinstance(answer, CloudUnreachableError) else 0.0
            self._after_s = max(self._after_s, after_s)
            tried.failed(self._pace, after_s=after_s)
            tried.alone = tried.alone or (answered and outcome is _Outcome.NO_ANSWER and not after_s)
        return Counter(outcomes)

    async def _came(self, item: OutboxItem, came: Came, *, raised: bool = False) -> _Outcome:
        match came:
            case CloudUnreachableError():
                log.info("%s of job %s: no answer from the registry (%s)", item.kind, item.job.job_id, came)
                return _Outcome.NO_ANSWER
            case CloudRefusedError(code=Code.TOO_MANY_REQUESTS):
                return _Outcome.NO_ANSWER
            case CloudRefusedError(code=Code.ORDER_EXHAUSTED) if not raised and await self._bring_raises(item):
                return await self._came(item, await self._sender.one(item), raised=True)
            case CloudRefusedError():
                return await self._refused(item, came)
            case OrderMissing():
                log.error("order %s is not in the ledger: import it, its statements wait", came.order_id)
                return _Outcome.FAILED
            case _:
                return await self._answered(item, came)

    async def _answered(self, item: OutboxItem, receipt: Envelope | None) -> _Outcome:
        wrong = receipts.problem(self._root, item.envelope, receipt) if receipt else "there is no receipt"
        if receipt is None or wrong is not None:
            log.error("%s of job %s: the registry's answer is not taken: %s", item.kind, item.job.job_id, wrong)
            return self._objects(item, f"the registry's answer is not taken: {wrong}")
        pin = item.kind is RecordKind.PIN
        kind = RecordKind.PIN_RECEIPT if pin else RecordKind.COMPLETION_RECEIPT
        # A crash before this commit: the statement is sent again and the registry gives the same receipt.
        outcome = await self._record(item, kind, receipt, _Outcome.DELIVERED)
        if pin:
            self._numbered(item.job, True)
        return outcome

    async def _refused(self, item: OutboxItem, error: CloudRefusedError) -> _Outcome:
        log.error("%s of job %s: the registry refuses: %s (%s)", item.kind, item.job.job_id, error.code.value, error)
        if error.code is Code.ORDER_EXHAUSTED and item.kind is RecordKind.PIN:
            self._numbered(item.job, False)
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

    async def _bring_raises(self, item: OutboxItem) -> bool:
        """Whether officers have allowed more than the order, which the registry may not have known yet."""
        order = await self._jobs.order(item.job.order_id)
        return order is not None and await bring_raises(self._jobs, self._cloud, order)

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
        return self._pace.monotonic() >= max(self._tried(item).not_before, self._away.not_before)

    def _tried(self, item: OutboxItem) -> Backoff:
        return self._tries.get(_key(item)) or Backoff()

    async def _rest(self) -> None:
        """Wait until the next statement is due, or until woken."""
        now, away = self._pace.monotonic(), self._away.not_before
        if self._behind != -1 or not self._tries:  # some were not looked at, or none has failed
            nearest = away if self._away.failures else now + self._pace.cap_s
        else:
            nearest = max(away, min(tried.not_before for tried in self._tries.values()))
        delay = nearest - now
        woken = asyncio.ensure_future(self._new.wait())
        slept = asyncio.ensure_future(self._pace.sleep(max(delay, 0.0)))
        try:
            await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()


def _key(item: OutboxItem) -> _Key:
    return str(item.job.job_id), item.kind
