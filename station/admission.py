"""Whether a unit may begin, or go on, here at all. Reads the ledger; changes nothing."""

from __future__ import annotations

from station import checks
from station.evidence import Assigned, Identified
from station.faults import fault
from station.jobs import Jobs, RecordKind
from station.line import Line
from trust.identity import DeviceId


async def refuse_if_begun_elsewhere(jobs: Jobs, device: DeviceId, order_id: str) -> None:
    """The fault `other-order` if a statement about the unit was intended under another order and is not lost.

    Its key must not be replaced: the registry may have it, or get it from the outbox at any time.
    """
    for job in await jobs.jobs_of(device):
        if job.order_id == order_id:
            continue
        records = await jobs.records(job.job_id)
        if RecordKind.INTENT in records and RecordKind.PIN_REFUSED not in records:
            raise fault("other-order", f"begun under {job.order_id}: finish it there")


async def refuse_unless_keyable(line: Line, identified: Identified) -> None:
    """The fault that a unit without a key that we know would end with; the registry's or our own job is fine."""
    identity = identified.identity
    if identified.registered is not None:
        return
    own = await line.jobs.jobs_of(identity.device_id)
    if any(job.job_id == identity.job or job.order_id == line.work.order_id for job in own):
        return
    if identity.job is None or identity.job != checks.job_to_adopt(line, identity, None):
        checks.may_make_key(line, identity, known=False, asked=identified.asked)


def not_too_often(assigned: Assigned, most: int) -> None:
    """A unit that never gets as far as its pin statement is given up; later insertions are not counted against it."""
    if assigned.attempt > most and assigned.registered is None and RecordKind.PIN not in assigned.records:
        raise fault("too-many-attempts", f"{assigned.attempt - 1} attempts before this one")
