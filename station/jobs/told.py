"""Verdicts of the jobs that were looked at lately, each leaf read once: leaves never change, so only new ones are read.

A unit that is tried a thousand times has a thousand verdicts, and each of them is asked about at each try: reading all
of them anew, beside the other slots' commits, would make each try dearer than the one before. Never decides anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sqlalchemy import bindparam, select

from ledger.engine import Connection
from ledger.tables import Leaf
from station.jobs.leaf import VERDICT
from station.jobs.tables import EventRow
from trust.dsse import Envelope
from trust.identity import JobId
from trust.statement import Event, read

Verdicts = Callable[[Connection, JobId], tuple[Event, ...]]
"""A job's verdict events, in log order."""
_JOBS = 64  # more than are in work at a time
_NEW = (
    select(Leaf.index, Leaf.entry)
    .join(EventRow, EventRow.leaf_index == Leaf.index)
    .where(
        EventRow.job_id == bindparam("job"), EventRow.kind == VERDICT, EventRow.leaf_index > bindparam("after"),
    )
    .order_by(Leaf.index)
)  # fmt: skip


class Told:
    """Of one ledger, on its thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[JobId, tuple[int, tuple[Event, ...]]] = OrderedDict()

    def committed(self, connection: Connection, job: JobId) -> tuple[Event, ...]:
        """A job's verdict events, in log order, in a transaction that only reads: these are remembered."""
        last, told = self._looked_up(connection, job)
        self._known[job] = (last, told)
        self._known.move_to_end(job)
        if len(self._known) > _JOBS:
            self._known.popitem(last=False)
        return told

    def so_far(self, connection: Connection, job: JobId) -> tuple[Event, ...]:
        """The same in a transaction that writes, and may yet be rolled back and done over."""
        return self._looked_up(connection, job)[1]

    def _looked_up(self, connection: Connection, job: JobId) -> tuple[int, tuple[Event, ...]]:
        last, told = self._known.get(job, (-1, ()))
        found = connection.execute(_NEW, {"job": str(job), "after": last}).all()
        if not found:
            return last, told
        return found[-1][0], told + tuple(read(Envelope.from_json(entry), Event) for _, entry in found)
