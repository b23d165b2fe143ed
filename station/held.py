"""Where the unfinished units of an order stand: the screen's *finish me*, and what must not be.

Reads the ledger only; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from station.disposition import Disposition
from station.events import Step, Verdict
from station.fault_table import TABLE
from station.jobs import Jobs, OnRecord, RecordKind
from trust.identity import DeviceId
from trust.statement import Event

_PROVED = frozenset(list(Step)[list(Step).index(Step.PROVEN) + 1 :])  # steps of a unit that has proved its key


async def standing(jobs: Jobs, order_id: str) -> Mapping[str, str]:
    """The last verdict of each unfinished job, by job id, HELD if there is none. Raises LedgerError.

    Only a verdict on a unit that had proved the job's key by then counts: an id anybody can claim, and what became of a
    unit that merely claimed it says nothing of the real one. Nor does a line stop, which is not the unit's.
    """
    told = {str(job.job_id): Verdict.HELD.value for job in await jobs.unfinished(order_id)}
    for event in await jobs.verdicts(order_id):
        if event.job in told and _counts(event):
            told[event.job] = event.details.get("verdict", "")
    return told


async def last_verdict(jobs: Jobs, known: OnRecord) -> Event | None:
    """The verdict that tells where one unfinished job stands, by the same rule once it is signed for."""
    signed_for = RecordKind.PIN in known.records
    told = [event for event in await jobs.verdicts(known.job.order_id) if event.job == str(known.job.job_id)]
    return next((event for event in reversed(told) if _counts(event) or not signed_for), None)


def _counts(event: Event) -> bool:
    return of_the_unit(event.details.get("code", ""), event.details.get("step", ""))


def of_the_unit(code: str, step: str) -> bool:
    """Whether a verdict tells of the unit itself: it had proved the job's key, and the cause was not the line's."""
    row = TABLE.get(code)
    return step in _PROVED and (row is None or row.disposition not in {Disposition.NOT_HERE, Disposition.LINE_STOP})


async def held_devices(jobs: Jobs, order_id: str) -> tuple[DeviceId, ...]:
    """The order's held devices, oldest first, and those whose station died under them. Raises LedgerError.

    A unit that is signed for and failed or was quarantined is not among them: its verdict said where it goes.
    """
    told = await standing(jobs, order_id)
    unfinished = await jobs.unfinished(order_id)
    return tuple(job.device_id for job in unfinished if told.get(str(job.job_id)) == Verdict.HELD)


async def finish_me(jobs: Jobs, order_id: str) -> tuple[str, ...]:
    """Their ids. Raises LedgerError."""
    return tuple(str(device) for device in await held_devices(jobs, order_id))


async def to_quarantine(jobs: Jobs, order_id: str) -> tuple[str, ...]:
    """Ids of the order's devices that were held, and that the registry has refused for good since. Raises LedgerError.

    They stay named: the id alone, which is all that is looked at when such a unit comes back, proves no unit.
    """
    refused = await jobs.refused(order_id)
    if not refused:
        return ()
    told = dict.fromkeys((str(job.job_id) for job in refused), Verdict.HELD.value)
    for event in await jobs.verdicts(order_id):
        if event.job in told and _counts(event):
            told[event.job] = event.details.get("verdict", "")
    return tuple(str(job.device_id) for job in refused if told[str(job.job_id)] == Verdict.HELD)
