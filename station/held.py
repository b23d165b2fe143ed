"""Which units of an order wait to be finished: the screen's *finish me*. Reads the ledger only; decides nothing."""

from __future__ import annotations

from station.events import Verdict
from station.jobs import Jobs


async def finish_me(jobs: Jobs, order_id: str) -> tuple[str, ...]:
    """Ids of the order's held devices, oldest first, and of those whose station died under them. Raises LedgerError.

    A unit that is signed for and failed or was quarantined is not among them: its verdict said where it goes.
    """
    told = {event.job: event.details.get("verdict") for event in await jobs.latest_verdicts(order_id)}
    unfinished = await jobs.unfinished(order_id)
    return tuple(str(job.device_id) for job in unfinished if told.get(str(job.job_id), Verdict.HELD) == Verdict.HELD)
