"""Sending a pin statement to the registry. What came of it is read back by the flow, which alone decides."""

from __future__ import annotations

import contextlib

from station.cloud import REFUSED_FOR_GOOD, CloudRefusedError, CloudUnreachableError
from station.evidence import Assigned
from station.jobs import RecordConflictError, RecordKind
from station.line import Line
from station.statements import event
from trust.dsse import Envelope
from trust.statement import envelope


async def send_pin(line: Line, pin: Envelope, assigned: Assigned) -> bool:
    """Whether the registry answered: if not, the outcome is unknown. A refusal for good is booked as a loss."""
    try:
        await line.cloud.pin(assigned.identity.device_id, pin, line.order)
    except CloudUnreachableError:
        return False
    except CloudRefusedError as error:
        if error.code in REFUSED_FOR_GOOD:
            loss = event(line, "pin-refused", assigned.job, assigned.attempt, code=error.code)
            with contextlib.suppress(RecordConflictError):  # the outbox was told the same, and has booked it
                await line.jobs.record(assigned.job.job_id, RecordKind.PIN_REFUSED, envelope(loss))
        raise
    return True
