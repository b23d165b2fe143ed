"""All slots being served: one task a slot, one attempt after the other, lamps, verdicts, suspect slots, line stop.

Knows no screen and no protocol. Reached only through `station.port.FloorPort`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from msgspec.structs import replace

from fixtures.indicators import Lamp
from fixtures.slot import Slot
from station.attempt import Attempt
from station.disposition import Disposition
from station.events import AnyEvent, AttemptBegan, BatchFinished, LineStopped, UnitFinished, Verdict
from station.exits import Exit, worst
from station.fault_table import TABLE
from station.faults import Fault, LineStop, fault
from station.held import finish_me, to_quarantine
from station.jobs import LedgerError
from station.leaves import classify
from station.line import Line
from station.outbox import Outbox
from station.places import Places, another_unit, first_of
from station.port import Batch
from station.suspicion import Suspicion
from station.voice import Voice

log = logging.getLogger(__name__)

_LAMPS = {
    Verdict.PASS: Lamp.PASS,
    Verdict.FAIL: Lamp.FAIL,
    Verdict.HELD: Lamp.HELD,
    Verdict.QUARANTINE: Lamp.QUARANTINE,
}

MakeOutbox = Callable[[Callable[[Fault], None]], Outbox]
"""Makes the outbox, which gives the given function the faults that must stop the line."""


class Floor:
    """Serves the slots of one line. `voice` is where the line's events go; made by `station.wiring`."""

    def __init__(self, line: Line, slots: Sequence[Slot], make_outbox: MakeOutbox, voice: Voice) -> None:
        self._line = line
        self._slots = slots
        self._outbox = make_outbox(self._stop_line)
        self._voice = voice
        self._results: list[UnitFinished] = []
        self._halt = asyncio.Event()
        self._told = False
        self._objected = 0

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots, in the order of the jig."""
        return tuple(slot.config.name for slot in self._slots)

    def events(self) -> AsyncIterator[AnyEvent]:
        """Everything from now on; ends after the batch's end."""
        return self._voice.listen()

    def stop(self) -> None:
        """Take no further unit; units in work come to their end."""
        self._halt.set()

    async def run(self, batch: Batch) -> BatchFinished:
        """Serve the slots until the batch is done or the line stops."""
        began = self._line.clock.monotonic()
        wanted = [slot for slot in self._slots if not batch.slots or slot.config.name in batch.slots]
        places = Places(len(wanted) if batch.count is None else batch.count)
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(self._guarded("outbox", self._outbox.run))
            async with asyncio.TaskGroup() as workers:
                for slot in wanted:
                    workers.create_task(self._guarded(slot.config.name, partial(self._serve, slot, places, batch)))
            sender.cancel()
        await self._guarded("outbox", self._empty_outbox)
        finished = await self._summary(self._line.clock.monotonic() - began)
        self._line.emit(finished)
        self._voice.end()
        return finished

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A bug outside an attempt stops the line; the other slots' units end at a step boundary with a verdict."""
        try:
            await work()
        except Exception as bug:  # the worker's loop: escaping it would cancel the other slots in the middle of a write
            log.exception("bug in %s", name)
            self._stop_line(_internal(bug))

    async def _empty_outbox(self) -> None:
        try:
            self._objected = (await self._outbox.drain_once()).objected
        except LedgerError as error:
            self._stop_line(classify(error))

    async def _serve(self, slot: Slot, places: Places, batch: Batch) -> None:
        """One slot's life: take a unit, bring it to a verdict, wait for the next one."""
        suspicion = Suspicion(slot.config.name)
        result: UnitFinished | None = None
        while await self._next_unit(slot, result, places):
            result = await self._bring_to_verdict(slot, batch.retries)
            self._results.append(result)
            self._outbox.wake()
            if (suspect := suspicion.raised_by(result)) is not None:
                self._line.emit(suspect)
                return

    async def _next_unit(self, slot: Slot, last: UnitFinished | None, places: Places) -> bool:
        """Take a place for this slot's next unit, once it is in; False when the floor halts or nothing is wanted."""
        if last is not None and not self._halt.is_set():
            await first_of(another_unit(slot, last.device_id), self._halt.wait(), places.all_taken.wait())
        return not self._halt.is_set() and places.take()

    async def _bring_to_verdict(self, slot: Slot, retries: int) -> UnitFinished:
        for left in range(retries, -1, -1):
            result = await self._attempt(slot, left)
            if not result.again:
                break
        self._line.headroom.leave(slot.config.name, result)
        return result

    async def _attempt(self, slot: Slot, left: int) -> UnitFinished:
        line, name = self._line, slot.config.name
        line.emit(AttemptBegan(at=line.clock.utc(), slot=name))
        attempt = Attempt(line, slot)
        try:
            await self._light(name, Lamp.WORKING)
            result = await attempt.passed()
        except Fault as found:
            result = await self._ended_by(attempt, found)
        except Exception as bug:  # the worker's loop: a bug stops the line, it does not vanish
            log.exception("bug in slot %s", name)
            result = await self._ended_by(attempt, _internal(bug))
        finally:
            await attempt.close()
        worth = bool(result.code) and TABLE[result.code].disposition is Disposition.RETRY
        result = replace(result, again=worth and left > 0 and not self._halt.is_set())
        line.emit(result)
        return result

    async def _ended_by(self, attempt: Attempt, found: Fault) -> UnitFinished:
        if isinstance(found, LineStop):
            self._stop_line(found)
        result = await attempt.failed(found)
        if self._line.stop.cause is not None:  # the verdict itself could not be written
            self._stop_line(self._line.stop.cause)
        await self._light(attempt.slot_name, _LAMPS[result.verdict])
        return result

    def _stop_line(self, cause: Fault) -> None:
        self._line.stop.set(cause)
        self._halt.set()
        if self._told:
            return
        self._told = True
        self._line.emit(
            LineStopped(
                at=self._line.clock.utc(),
                code=cause.code,
                sentence=cause.row.sentence,
                remedy=cause.row.remedy,
                detail=cause.detail,
                exit_code=cause.row.exit,
            )
        )

    async def _light(self, slot: str, lamp: Lamp) -> None:
        try:
            await self._line.light(slot, lamp)
        except Fault as error:
            log.warning("slot %s: %s", slot, error)

    async def _summary(self, seconds: float) -> BatchFinished:
        waiting, held, lost = await self._left_open()
        counts = Counter(each.verdict for each in self._results)
        codes = [Exit(each.exit_code) for each in self._results]
        cause = self._line.stop.cause
        if cause is not None:
            codes.append(cause.row.exit)
        if self._objected:
            codes.append(Exit.UNIT_FAILED)
        return BatchFinished(
            at=self._line.clock.utc(),
            order=self._line.work.order_id,
            passed=counts[Verdict.PASS],
            failed=counts[Verdict.FAIL],
            held=counts[Verdict.HELD],
            quarantined=counts[Verdict.QUARANTINE],
            already=sum(each.already for each in self._results),
            waived=sum(each.handshake == "waived" for each in self._results),
            outbox=waiting,
            objected=self._objected,
            seconds=round(seconds, 3),
            exit_code=worst(codes),
            finish_me=held,
            to_quarantine=lost,
        )

    async def _left_open(self) -> tuple[int | None, tuple[str, ...], tuple[str, ...]]:
        """How many statements wait, which devices are held, and which no more; unknown without the ledger."""
        jobs = self._line.jobs
        try:
            order = self._line.work.order_id
            return await jobs.waiting(), await finish_me(jobs, order), await to_quarantine(jobs, order)
        except LedgerError as error:
            self._stop_line(classify(error))
            return None, (), ()


def _internal(bug: Exception) -> Fault:
    return fault("internal", f"{type(bug).__name__}: {bug}")
