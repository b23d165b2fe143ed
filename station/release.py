"""Which units of an order may ship, and why the rest may not: ledger and registry must both say so, unit by unit.

The ledger knows what this station signed for, and what reworks here have left of it; the registry is asked about each
that has passed, since what was found out later stands there. A clash keeps a unit here, and so do an open lock and
silence. Reads only, believes nobody unverified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

import msgspec

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.exits import Exit, worst
from station.faults import Fault
from station.history import Reader
from station.job_state import job_state
from station.jobs import OnRecord, RecordKind
from station.rework.look import of_order
from station.rework.now_held import NowHeld, now_held
from station.rework.reworked import LeftAs, left_as
from station.shown_handshake import judged
from trust.order import WorkOrder
from trust.rekey import Step
from trust.statement import PinStatement, Verification, read

Witness = Literal["pending", "required"]
Reason = Literal[
    "", "not-passed", "quarantined", "lost", "completion-refused", "not-acknowledged", "no-answer", "not-active",
    "clash", "reworked-elsewhere", "not-locked", "in-rework", "not-witnessed",
]  # fmt: skip
_AT_ONCE = 8  # questions to the registry at the same time
_EXITS: dict[Reason, Exit] = {
    "": Exit.PASSED,
    "not-passed": Exit.UNIT_FAILED,
    "quarantined": Exit.QUARANTINED,
    "lost": Exit.QUARANTINED,
    "completion-refused": Exit.QUARANTINED,
    "clash": Exit.QUARANTINED,
    "not-acknowledged": Exit.HELD,
    "no-answer": Exit.HELD,
    "not-active": Exit.HELD,
    "reworked-elsewhere": Exit.HELD,
    "not-locked": Exit.HELD,
    "in-rework": Exit.HELD,
    "not-witnessed": Exit.HELD,
}
_GIVE_IT_HERE = (
    "and give the act that wants the anchor here (or have one for the same anchor approved): station device rework "
    "verifies it, station run would write to a locked unit"
)
_NO_WITNESS = (
    "no witness has seen the log: the witness is not built, and release.witness, or --witness required, waits for one"
)


class UnitRelease(msgspec.Struct, frozen=True, kw_only=True):
    """One unit that was signed for: whether it may ship; if not, `reason` for scripts and `text` for people.

    `witness` is always `pending`: none is built. `handshake`: what its completion says of it, judged; empty without
    one, or where that does not hold.
    """

    device_id: str
    job: str
    ships: bool
    reason: Reason = ""
    text: str = ""
    witness: Literal["pending"] = "pending"
    handshake: Literal["", "proved", "waived", "not-asked"] = ""


def exit_of(units: Iterable[UnitRelease]) -> Exit:
    """0 if all may ship; else what the worst of the rest asks for."""
    return worst(_EXITS[unit.reason] for unit in units)


async def release(reader: Reader, order_id: str, witness: Witness) -> tuple[UnitRelease, ...] | None:
    """Each unit of the order that was signed for here, oldest first; None for an order without a record here.

    Raises LedgerError.
    """
    order = await reader.jobs.order(order_id)
    if order is None:
        return None
    room, anchor = asyncio.Semaphore(_AT_ONCE), of_order(read(order, WorkOrder))

    async def one(known: OnRecord) -> UnitRelease:
        async with room:
            reason, text = await _judged(reader, known, anchor, witness)
        said, job = judged(reader.root, order, known.records), known.job
        if isinstance(said, str) and not reason:
            reason, text = "clash", f"the live handshake in its completion does not hold: {said}: quarantine the unit"
        met = said.handshake if isinstance(said, Verification) else ""
        return UnitRelease(
            device_id=str(job.device_id), job=str(job.job_id), ships=not reason, reason=reason, text=text, handshake=met
        )

    return tuple(await asyncio.gather(*[one(each) for each in await reader.jobs.signed_for(order_id)]))


async def _judged(reader: Reader, known: OnRecord, anchor: str, witness: Witness) -> tuple[Reason, str]:
    """Why the unit may not ship; an empty reason if it may."""
    left = await left_as(reader.jobs, known.job.device_id)
    reason, text = await _on_record(reader, known)
    if not reason:
        reason, text = await _at_the_registry(reader, known, left, anchor)
    if not reason and witness == "required":
        reason, text = "not-witnessed", _NO_WITNESS
    return reason, text


async def _on_record(reader: Reader, known: OnRecord) -> tuple[Reason, str]:
    records, state = known.records, await job_state(reader.jobs, known)
    if RecordKind.PIN_REFUSED in records:
        return "lost", state.text
    if RecordKind.COMPLETION_REFUSED in records:
        return "completion-refused", state.text
    if RecordKind.COMPLETION not in records:
        return ("quarantined" if state.state == "quarantined" else "not-passed"), state.text
    if RecordKind.COMPLETION_RECEIPT not in records:
        return "not-acknowledged", state.text
    return "", ""


async def _at_the_registry(reader: Reader, known: OnRecord, left: LeftAs, anchor: str) -> tuple[Reason, str]:
    try:
        found = await now_held(reader.root, reader.cloud, reader.devices, known.job.device_id)
    except (CloudUnreachableError, CloudRefusedError) as error:
        return "no-answer", f"the registry does not say what became of it: {error}"
    except Fault as error:
        return "clash", f"what the registry shows does not hold: {error}"
    if found is None:
        return "clash", "the registry has acknowledged this unit and does not know it: call the security officer"
    if found.state != "active":
        return "not-active", f"the registry says {found.state}: keep the unit, and ask who changed it"
    reason, text = _clash(known, found, left)
    if not reason:
        reason, text = left.reason, left.text
    return (reason, text) if reason else _unseen(found, left, anchor)


def _clash(known: OnRecord, found: NowHeld, left: LeftAs) -> tuple[Reason, str]:
    """What the registry has is what was made here: first key, completion, and the key that it got since."""
    ours = read(known.records[RecordKind.PIN], PinStatement)
    if ours.fingerprint != found.pin.fingerprint:
        return "clash", f"the registry has another key for it, of station {found.pin.station}: quarantine the unit"
    completion, done = found.record.completion, known.records[RecordKind.COMPLETION]
    if completion is None or not completion.same_statement(done):
        return "clash", "the registry has another completion for it: quarantine the unit"
    if left.reason != "in-rework" and found.fingerprint != (left.fingerprint or ours.fingerprint):
        if found.fingerprint == ours.fingerprint:
            return "clash", f"the registry does not show key {left.fingerprint}, which it got here: quarantine the unit"
        text = f"by an approved act it has key {found.fingerprint} now, which it did not get at this station"
        return "reworked-elsewhere", f"{text}: ask where, and whether it is locked"
    return "", ""


def _unseen(found: NowHeld, left: LeftAs, anchor: str) -> tuple[Reason, str]:
    """What no key shows: words that no look here is younger than, and an anchor that it is not to have."""
    words = [each for each in found.words if each.sha256 not in left.covered]
    if words:
        another = any(each.step is Step.NEW_ANCHOR for each in words)
        what = "get another anchor" if another else "be opened"
        remedy = _GIVE_IT_HERE if another else "or run it through this line again, which locks it"
        text = f"an approved act let it {what} at {words[-1].at}, and it was not verified here since: ask where"
        return "reworked-elsewhere", f"{text}, {remedy}"
    if not left.has_anchor(anchor):
        text = "its anchor, seen here last, is neither the order's nor one that an act gave it here"
        return "reworked-elsewhere", f"{text}: ask where it got it, {_GIVE_IT_HERE}"
    return "", ""
