"""Which units of an order may ship, and why the rest may not: ledger and registry must both say so, unit by unit.

The ledger knows what this station signed for; the registry is asked about each that has passed, since what was found
out later stands there. A clash keeps a unit here, and so does silence. Reads only, believes nobody unverified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

import msgspec

from station import checks
from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord
from station.exits import Exit, worst
from station.faults import Fault
from station.history import Reader
from station.job_state import job_state
from station.jobs import OnRecord, RecordKind
from trust.statement import PinStatement, read

Witness = Literal["pending", "required"]
Reason = Literal[
    "", "not-passed", "quarantined", "lost", "completion-refused", "not-acknowledged", "no-answer", "not-active",
    "clash", "not-witnessed",
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
    "not-witnessed": Exit.HELD,
}
_NO_WITNESS = "no witness has seen the log: the witness is not built, and --witness required waits for one"


class UnitRelease(msgspec.Struct, frozen=True, kw_only=True):
    """One unit that was signed for: whether it may ship; if not, `reason` for scripts and `text` for people.

    `witness` is always `pending`: none is built.
    """

    device_id: str
    job: str
    ships: bool
    reason: Reason = ""
    text: str = ""
    witness: Literal["pending"] = "pending"


def exit_of(units: Iterable[UnitRelease]) -> Exit:
    """0 if all may ship; else what the worst of the rest asks for."""
    return worst(_EXITS[unit.reason] for unit in units)


async def release(reader: Reader, order_id: str, witness: Witness) -> tuple[UnitRelease, ...] | None:
    """Each unit of the order that was signed for here, oldest first; None for an order without a record here.

    Raises LedgerError.
    """
    if await reader.jobs.order(order_id) is None:
        return None
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(known: OnRecord) -> UnitRelease:
        async with room:
            reason, text = await _judged(reader, known, witness)
        job = known.job
        return UnitRelease(
            device_id=str(job.device_id), job=str(job.job_id), ships=not reason, reason=reason, text=text
        )

    return tuple(await asyncio.gather(*[one(each) for each in await reader.jobs.signed_for(order_id)]))


async def _judged(reader: Reader, known: OnRecord, witness: Witness) -> tuple[Reason, str]:
    """Why the unit may not ship; an empty reason if it may."""
    records, state = known.records, await job_state(reader.jobs, known)
    if RecordKind.PIN_REFUSED in records:
        return "lost", state.text
    if RecordKind.COMPLETION_REFUSED in records:
        return "completion-refused", state.text
    if RecordKind.COMPLETION not in records:
        return ("quarantined" if state.state == "quarantined" else "not-passed"), state.text
    if RecordKind.COMPLETION_RECEIPT not in records:
        return "not-acknowledged", state.text
    reason, text = await _at_the_registry(reader, known)
    if reason or witness == "pending":
        return reason, text
    return "not-witnessed", _NO_WITNESS


async def _at_the_registry(reader: Reader, known: OnRecord) -> tuple[Reason, str]:
    device = known.job.device_id
    try:
        record = await reader.cloud.history(device)
    except (CloudUnreachableError, CloudRefusedError) as error:
        return "no-answer", f"the registry does not say what became of it: {error}"
    if record is None:
        return "clash", "the registry has acknowledged this unit and does not know it: call the security officer"
    if record.state != "active":
        return "not-active", f"the registry says {record.state}: keep the unit, and ask who changed it"
    try:
        pinned = checks.registry_record(reader.root, device, record)
    except Fault as error:
        return "clash", f"what the registry shows does not hold: {error}"
    return _clash(known, record, pinned)


def _clash(known: OnRecord, record: PinRecord, pinned: PinStatement) -> tuple[Reason, str]:
    """What the registry has is what was made here: key and completion, whatever the signatures."""
    ours = read(known.records[RecordKind.PIN], PinStatement)
    if ours.fingerprint != pinned.fingerprint:
        return "clash", f"the registry has another key for it, of station {pinned.station}: quarantine the unit"
    done = known.records[RecordKind.COMPLETION]
    if record.completion is None or not record.completion.same_statement(done):
        return "clash", "the registry has another completion for it: quarantine the unit"
    return "", ""
