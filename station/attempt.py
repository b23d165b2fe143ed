"""One insertion and its verdict: runs the flow and says how it ended, to the ledger first and then to the screen."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from fixtures.device import Identity
from fixtures.slot import Slot
from station.disposition import VERDICTS, Disposition
from station.events import Step, UnitFinished, Verdict
from station.faults import Fault, fault
from station.jobs import LedgerError, RecordConflictError
from station.jobs.leaf import VERDICT
from station.leaves import classify
from station.line import Line
from station.provision import Provisioning
from station.rework.look import Look
from station.rework.reworked import left_as
from station.statements import event, turned_away, verified_again

_WOULD_GO_ON = {Disposition.RETRY, Disposition.NOT_HERE, Disposition.HOLD}
_LOG = logging.getLogger(__name__)


class Attempt:
    """Wraps one `Provisioning`; owns its link until `close`."""

    def __init__(self, line: Line, slot: Slot) -> None:
        self._line = line
        self._flow = Provisioning(line, slot)
        self._began = line.clock.monotonic()
        self._emulated = slot.config.emulated
        self.slot_name = slot.config.name

    async def passed(self) -> UnitFinished:
        """Run to PASS; raises the Fault that ended it otherwise."""
        done = await self._flow.run()
        if done.look is not None:
            await self._whole_again(done.pinned.assigned.identity, done.look)
        return replace(
            self._finished(Verdict.PASS),
            fingerprint=done.pinned.key.fingerprint,
            already=done.already,
            cloud="active" if done.active else "provisional",
            handshake=done.handshake,
        )

    async def _whole_again(self, found: Identity, look: Look) -> None:
        """On record, where it may have been opened since it passed: the flow has locked it, and tried that it holds.

        Opened here, which the ledger knows, or elsewhere: it came open, or the registry shows words not heard here.
        """
        jobs, device = self._line.jobs, found.device_id
        try:
            left = await left_as(jobs, device)
            if not found.locked or left.open or not look.words <= left.covered:
                await jobs.note(verified_again(self._line, device, look))
        except LedgerError as error:
            raise classify(error) from error

    async def failed(self, found: Fault) -> UnitFinished:
        """The verdict that a fault stands for, on record under the unit's job, or without one if it was turned away.

        Waits for the end of a write that was begun. A ledger that does not take the verdict stops the line.
        """
        found = self._graver(found, await self._flow.unit.settle())
        verdict = VERDICTS[found.row.disposition]
        try:
            await self._record(verdict, found)
        except (LedgerError, RecordConflictError) as error:
            stop = fault("ledger-failed", str(error))
            self._line.stop.set(stop)
            found = stop
        return replace(
            self._finished(verdict),
            code=found.code,
            sentence=found.row.sentence,
            remedy=found.row.remedy,
            detail=found.detail,
            exit_code=found.row.exit,
        )

    def _graver(self, found: Fault, beside: BaseException | None) -> Fault:
        """The fault to tell: a write beside the step that failed may have left what must never be tried again."""
        match beside:
            case Fault() as other if other.row.disposition is Disposition.QUARANTINE:
                if found.row.disposition in _WOULD_GO_ON:
                    self._flow.at = Step.ANCHORED
                    return other
            case Exception():
                _LOG.info("writing the anchor, beside %s: %s", self._flow.at, beside)
        return found

    async def close(self) -> None:
        """Give the link back."""
        await self._flow.close()

    async def _record(self, verdict: Verdict, found: Fault) -> None:
        seen, assigned = self._flow.seen, self._flow.assigned
        said = {"verdict": verdict.value, "code": found.code, "step": self._flow.at.value}
        if assigned is not None:
            await self._line.jobs.note(event(self._line, VERDICT, assigned.job, assigned.attempt, **said))
        elif (
            seen is not None and verdict is Verdict.QUARANTINE
        ):  # turned away: what else ends before a job costs nothing
            await self._line.jobs.note(turned_away(self._line, seen, **said))

    def _finished(self, verdict: Verdict) -> UnitFinished:
        seen, assigned = self._flow.seen, self._flow.assigned
        return UnitFinished(
            at=self._line.clock.utc(),
            slot=self.slot_name,
            verdict=verdict,
            order=self._line.work.order_id,
            device_id=str(seen.device_id) if seen else "",
            emulated=self._emulated or (seen.emulated if seen else False),
            job=str(assigned.job.job_id) if assigned else "",
            attempt=assigned.attempt if assigned else 0,
            step=None if verdict is Verdict.PASS else self._flow.at,
            seconds=round(self._line.clock.monotonic() - self._began, 6),
        )
