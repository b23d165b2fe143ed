"""Whether a unit's life under another order forbids to begin here. Reads the ledger; changes nothing."""

from __future__ import annotations

from station.faults import fault
from station.jobs import Jobs, RecordKind
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
