"""Sending a pin statement to the registry. What came of it is read back by the flow, which alone decides."""

from __future__ import annotations

import contextlib

from station.cloud import REFUSED_FOR_GOOD, CloudRefusedError, CloudUnreachableError
from station.evidence import Assigned
from station.faults import Fault, fault
from station.jobs import RecordConflictError, RecordKind
from station.line import Line
from station.refusals import refusal_problem
from station.statements import event
from station.steps import classify
from trust.dsse import Envelope
from trust.statement import PinStatement, envelope, read


async def send_pin(line: Line, pin: Envelope, assigned: Assigned) -> bool:
    """Whether the registry answered: if not, the outcome is unknown. A refusal for good is booked as a loss."""
    try:
        await line.cloud.pin(assigned.identity.device_id, pin, line.order)
    except CloudUnreachableError:
        return False
    except CloudRefusedError as error:
        if error.code in REFUSED_FOR_GOOD:
            raise await _lost(line, pin, assigned, error) from error
        raise
    return True


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
