"""A pin statement sent to the registry and read back. Never takes an answer for the pin: what is read back decides."""

from __future__ import annotations

import contextlib

from station import checks
from station.ahead import Ahead
from station.cloud import REFUSED_FOR_GOOD, CloudRefusedError, CloudUnreachableError, PinRecord
from station.evidence import Assigned
from station.faults import Fault, fault
from station.jobs import RecordConflictError, RecordKind
from station.leaves import classify
from station.line import Line
from station.raising import bring_raises
from station.refusals import refusal_problem
from station.statements import event
from trust import receipt as receipts
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import PinStatement, envelope, read


async def pin_and_read_back(line: Line, pin: Envelope, assigned: Assigned) -> Envelope:
    """The receipt, verified and on record; the registry still has the pin when it is asked. Raises the fault it finds.

    The receipt is put on record while the pin is read back: whatever the registry says then, it has signed this.
    """
    stored: Ahead[None] = Ahead()
    try:
        answer = await _send(line, pin, assigned)
        if answer is not None:
            stored.begin(line.jobs.record(assigned.job.job_id, RecordKind.PIN_RECEIPT, answer))
        held = await line.cloud.history(assigned.identity.device_id)
        receipt = checks.read_back(line.root, pin, held, answer=answer)
        if answer is None:
            stored.begin(line.jobs.record(assigned.job.job_id, RecordKind.PIN_RECEIPT, receipt))
        await stored.take()
    finally:
        await stored.drop()
    line.headroom.numbered(assigned.identity.device_id)
    return receipt


async def completion_there(line: Line, assigned: Assigned) -> Envelope | None:
    """The completion that the registry has; one that it has acknowledged it must still show.

    Asked again before the fault: the outbox may have sent it between the look at the registry and that at the ledger.
    """
    found = assigned.finished_elsewhere
    if found is not None or RecordKind.COMPLETION_RECEIPT not in assigned.records or not assigned.identified.asked:
        return found
    held = await line.cloud.history(assigned.identity.device_id)
    if held is not None:
        checks.registry_record(line.root, assigned.identity.device_id, held)
    if held is None or held.completion is None:
        raise fault("registry-wrong", "it has acknowledged this completion, and does not show it")
    return held.completion


async def _send(line: Line, pin: Envelope, assigned: Assigned) -> Envelope | None:
    """The registry's receipt, verified; None without an answer: the outcome is unknown. A loss is booked."""
    try:
        answer = await _pinned(line, pin, assigned)
    except CloudUnreachableError:
        return None
    except CloudRefusedError as error:
        if error.code in REFUSED_FOR_GOOD:
            raise await _lost(line, pin, assigned, error) from error
        raise
    wrong = receipts.problem(line.root, pin, answer.receipt)
    if wrong is not None:
        raise fault("registry-wrong", wrong)
    return answer.receipt


async def _pinned(line: Line, pin: Envelope, assigned: Assigned) -> PinRecord:
    """The registry's answer; asked once more where it has to hear first what officers allow beyond the order."""
    device = assigned.identity.device_id
    try:
        return await line.cloud.pin(device, pin, line.order)
    except CloudRefusedError as error:
        if error.code is not Code.ORDER_EXHAUSTED:
            raise
        line.headroom.numberless(device)  # nobody begins a unit until it is pinned
        if not await bring_raises(line.jobs, line.cloud, line.order):
            raise
    return await line.cloud.pin(device, pin, line.order)


async def _lost(line: Line, pin: Envelope, assigned: Assigned, error: CloudRefusedError) -> Fault:
    """What a refusal for good means, booked; a registry that cannot show why is not believed, and nothing is lost."""
    wrong = refusal_problem(line.root, pin, error)
    if error.stored is None or wrong is not None:
        return fault("registry-wrong", f"it refuses for good ({error.code}: {error}), but {wrong}")
    theirs = read(error.stored.statement, PinStatement)
    loss = event(line, "pin-refused", assigned.job, assigned.attempt, code=error.code)
    with contextlib.suppress(RecordConflictError):  # the outbox was told the same, and has booked it
        await line.jobs.record(assigned.job.job_id, RecordKind.PIN_REFUSED, envelope(loss))
    return fault(classify(error).code, f"{error} (pinned by {theirs.station} under job {theirs.job})")
