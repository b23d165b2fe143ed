"""Counting the units of an order, and a unit's insertions, in the station's memory. Never writes, never decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Final

from sqlalchemy import func, select

from ledger.engine import Connection
from ledger.tables import Leaf
from station.jobs import RecordKind, queries
from station.jobs.leaf import ATTEMPT, REWORK_ENDED, VERDICT
from station.jobs.tables import EventRow, JobRow, RecordRow
from trust.dsse import Envelope
from trust.identity import JobId
from trust.statement import Completion, Event, PinStatement, Waiver, read

_PINNED: Final = (RecordKind.PIN_RECEIPT, RecordKind.HANDSHAKE_REPORT, RecordKind.COMPLETION_INTENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinCount:
    """Pin statements on record, and intents on record whose statement, if it was signed, is not."""

    on_record: int
    unanswered: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Jobs of one order, each counted once, by the furthest they got."""

    opened: int = 0
    intended: int = 0
    signed: int = 0
    refused: int = 0
    pinned: int = 0
    completed: int = 0
    active: int = 0
    not_taken: int = 0

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.opened + self.intended + self.signed_for

    @property
    def signed_for(self) -> int:
        """Those with a pin statement: each has used one of the order's signatures."""
        return self.signed + self.refused + self.pinned + self.passed

    @property
    def passed(self) -> int:
        """Completed at the station; active in the cloud, not yet, or its completion refused there (`not_taken`)."""
        return self.completed + self.active + self.not_taken

    def less(self, others: Tally) -> Tally:
        """Without these, which are among them."""
        return Tally(*(all_ - out for all_, out in zip(astuple(self), astuple(others), strict=True)))


def tally(connection: Connection, order_id: str, *, scrapped: bool = False) -> Tally:
    """How many jobs of an order got how far, all or those of scrapped devices: a job's last record in the log tells."""
    last = (
        select(RecordRow.kind)
        .where(RecordRow.job_id == JobRow.job_id)
        .order_by(RecordRow.leaf_index.desc())
        .limit(1)
        .scalar_subquery()
    )
    jobs = select(last.label("kind")).where(JobRow.order_id == order_id)
    furthest = (jobs.where(queries.IS_SCRAPPED) if scrapped else jobs).subquery()
    counted = connection.execute(select(furthest.c.kind, func.count()).group_by(furthest.c.kind)).all()
    counts: dict[str | None, int] = {each[0]: each[1] for each in counted}
    return Tally(
        opened=counts.get(None, 0),
        intended=counts.get(RecordKind.INTENT, 0),
        signed=counts.get(RecordKind.PIN, 0),
        refused=counts.get(RecordKind.PIN_REFUSED, 0),
        pinned=sum(counts.get(kind, 0) for kind in _PINNED),
        completed=counts.get(RecordKind.COMPLETION, 0),
        active=counts.get(RecordKind.COMPLETION_RECEIPT, 0),
        not_taken=counts.get(RecordKind.COMPLETION_REFUSED, 0),
    )


def verified_again(connection: Connection, job: JobId) -> int:
    """How many of a job's insertions began after its completion: the unit had passed and was only verified."""
    passed = (
        select(RecordRow.leaf_index)
        .where(RecordRow.job_id == str(job), RecordRow.kind == RecordKind.COMPLETION.value)
        .scalar_subquery()
    )
    query = select(func.count()).where(
        EventRow.job_id == str(job), EventRow.kind == ATTEMPT, EventRow.leaf_index > passed
    )
    return connection.execute(query).scalar_one()


def emulated(connection: Connection, order_id: str) -> int:
    """How many of an order's pin statements declare their unit emulated."""
    return sum(pin.declared.emulated for pin in _pins(connection, order_id))


def pin_count(connection: Connection, order_id: str, station: str) -> PinCount:
    """Pin statements of this station under an order, and intents that one may have been signed for."""
    made = (
        select(func.count())
        .select_from(JobRow)
        .join(RecordRow, RecordRow.job_id == JobRow.job_id)
        .where(JobRow.order_id == order_id, RecordRow.kind == RecordKind.PIN.value, RecordRow.station == station)
    )
    waiting = queries.unanswered(connection, order_id, RecordKind.INTENT)
    return PinCount(on_record=connection.execute(made).scalar_one(), unanswered=len(waiting))


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshakes:
    """What became of the live handshakes of units that passed; `waived` names the devices, and for what."""

    proved: int
    waived: Mapping[str, Waiver]
    not_asked: int


def handshakes(connection: Connection, order_id: str) -> Handshakes:
    """As the completions on record say, oldest first; those of scrapped devices are not among them."""
    query = (
        select(Leaf.entry)
        .join(RecordRow, (RecordRow.leaf_index == Leaf.index) & (RecordRow.kind == RecordKind.COMPLETION.value))
        .join(JobRow, JobRow.job_id == RecordRow.job_id)
        .where(JobRow.order_id == order_id)
        .order_by(Leaf.index)
    )
    out = {str(each) for each in queries.scrapped(connection, order_id)}
    told = (read(Envelope.from_json(entry), Completion) for entry in connection.execute(query).scalars())
    said = {done.device_id: done.verification for done in told if done.device_id not in out}
    counts = Counter(each.handshake for each in said.values())
    waived = {device: each.handshake_waiver for device, each in said.items() if each.handshake_waiver}
    return Handshakes(proved=counts["proved"], waived=waived, not_asked=counts["not-asked"])


def _pins(connection: Connection, order_id: str) -> Iterator[PinStatement]:
    query = (
        select(Leaf.entry)
        .join(RecordRow, (RecordRow.leaf_index == Leaf.index) & (RecordRow.kind == RecordKind.PIN.value))
        .join(JobRow, JobRow.job_id == RecordRow.job_id)
        .where(JobRow.order_id == order_id)
    )
    return (read(Envelope.from_json(entry), PinStatement) for entry in connection.execute(query).scalars())


def reworked(connection: Connection, order_id: str) -> int:
    """How many devices that have a job under this order were reworked here, to the end that the act wanted."""
    query = (
        select(Leaf.entry)
        .join(EventRow, EventRow.leaf_index == Leaf.index)
        .join(JobRow, JobRow.device_id == EventRow.device_id)
        .where(EventRow.order_id == "", EventRow.kind == REWORK_ENDED, JobRow.order_id == order_id)
    )
    told = (read(Envelope.from_json(entry), Event) for entry in connection.execute(query).scalars())
    return len({each.device_id for each in told if each.details.get("verdict") == "PASS"})


def turned_away(connection: Connection, order_id: str) -> int:
    """How many devices were given a verdict under this order without a job, and have none since."""
    job = select(JobRow.job_id).where(JobRow.device_id == EventRow.device_id, JobRow.order_id == EventRow.order_id)
    query = select(func.count(EventRow.device_id.distinct())).where(
        EventRow.order_id == order_id, EventRow.kind == VERDICT, EventRow.job_id == "", ~job.exists()
    )
    return connection.execute(query).scalar_one()
