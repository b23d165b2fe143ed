"""Sending a pin statement to the registry. What came of it is read back by the flow, which alone decides."""

from __future__ import annotations

import contextlib

from station import checks
from station.cloud import REFUSED_FOR_GOOD, CloudRefusedError, CloudUnreachableError, PinRecord
from station.evidence import Assigned
from station.faults import fault
from station.jobs import RecordConflictError, RecordKind
from station.line import Line
from station.statements import event
from station.steps import classify
from trust.dsse import Envelope
from trust.statement import envelope


async def send_pin(line: Line, pin: Envelope, assigned: Assigned) -> bool:
    """Whether the registry answered: if not, the outcome is unknown. A refusal for good is booked as a loss."""
    try:
        await line.cloud.pin(assigned.identity.device_id, pin, line.order)
    except CloudUnreachableError:
        return False
    except CloudRefusedError as error:
        held = _held(line, assigned, error.stored)  # a registry that shows a forgery is not believed its refusal either
        if error.code in REFUSED_FOR_GOOD:
            loss = event(line, "pin-refused", assigned.job, assigned.attempt, code=error.code)
            with contextlib.suppress(RecordConflictError):  # the outbox was told the same, and has booked it
                await line.jobs.record(assigned.job.job_id, RecordKind.PIN_REFUSED, envelope(loss))
        raise fault(classify(error).code, f"{error}{held}") from error
    return True


def _held(line: Line, assigned: Assigned, stored: PinRecord | None) -> str:
    """What the registry holds instead, if it showed that with its refusal and all signatures of it hold."""
    if stored is None:
        return ""
    theirs = checks.registry_record(line.root, assigned.identity.device_id, stored)
    return f" (pinned by {theirs.station} under job {theirs.job})"
