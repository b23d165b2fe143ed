"""Reading the station's memory: plain questions, each answered by an index. Never writes, never decides."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import Row, bindparam, func, select
from sqlalchemy.orm import aliased

from ledger.append import tip
from ledger.engine import Connection
from ledger.tables import Leaf
from station.jobs import Job, OnRecord, OutboxItem, RecordKind
from station.jobs.leaf import VERDICT
from station.jobs.papers import REVOKED
from station.jobs.projection import Known, Recorded
from station.jobs.tables import DeliveryRow, EventRow, JobRow, OrderRow, OutboxRow, PaperRow, RecordRow
from station.jobs.told import Verdicts
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.statement import Event, read

JobColumns = tuple[str, str, str, int]

# Statements are built once: building one costs more than running it.
_JOB = (JobRow.job_id, JobRow.device_id, JobRow.order_id, JobRow.adopted)
_BY_ID = select(*_JOB).where(JobRow.job_id == bindparam("job"))
_UNDER = select(*_JOB).where(JobRow.device_id == bindparam("device"), JobRow.order_id == bindparam("order"))
_OF_DEVICE = select(*_JOB).where(JobRow.device_id == bindparam("device")).order_by(JobRow.leaf_index)
_RECORDS = (
    select(RecordRow.kind, RecordRow.leaf_index, Leaf.entry)
    .join(Leaf, Leaf.index == RecordRow.leaf_index)
    .where(RecordRow.job_id == bindparam("job"))
    .order_by(RecordRow.leaf_index)
)
_KNOWN = (
    select(*_JOB, RecordRow.kind, RecordRow.leaf_index, Leaf.entry)
    .outerjoin(RecordRow, RecordRow.job_id == JobRow.job_id)
    .outerjoin(Leaf, Leaf.index == RecordRow.leaf_index)
    .where(JobRow.job_id == bindparam("job"))
    .order_by(RecordRow.leaf_index)
)
_ATTEMPTS = select(func.coalesce(func.max(EventRow.attempt), 0)).where(EventRow.job_id == bindparam("job"))
IS_SCRAPPED = select(Leaf.index).where(Leaf.subject == REVOKED, Leaf.step == JobRow.device_id).exists()
"""Of a job: its device's scrap is on record here."""
_AT = select(Leaf.entry).where(Leaf.subject == bindparam("subject"), Leaf.step == bindparam("step"))
_ORDER = (
    select(Leaf.entry).join(OrderRow, OrderRow.leaf_index == Leaf.index).where(OrderRow.order_id == bindparam("order"))
)


def leaf_at(connection: Connection, subject: str, step: str) -> Envelope | None:
    """What is in the log under this subject and step."""
    found = connection.execute(_AT, {"subject": subject, "step": step}).scalar_one_or_none()
    return None if found is None else Envelope.from_json(found)


def find(connection: Connection, job: JobId) -> Job | None:
    """A job by id."""
    found = connection.execute(_BY_ID, {"job": str(job)}).one_or_none()
    return None if found is None else _job(found)


def find_under(connection: Connection, device: DeviceId, order_id: str) -> Job | None:
    """A device's job under an order."""
    found = connection.execute(_UNDER, {"device": str(device), "order": order_id}).one_or_none()
    return None if found is None else _job(found)


def of_device(connection: Connection, device: DeviceId, told: Verdicts) -> tuple[OnRecord, ...]:
    """All jobs of a device with what is on record of each, oldest first."""
    jobs = [_job(each) for each in connection.execute(_OF_DEVICE, {"device": str(device)}).all()]
    return tuple(on_record(connection, job, told) for job in jobs)


def on_record(connection: Connection, job: Job, told: Verdicts) -> OnRecord:
    """A job with everything that is on record of it."""
    attempts: int = connection.execute(_ATTEMPTS, {"job": str(job.job_id)}).scalar_one()
    verdicts_so_far = told(connection, job.job_id)
    return OnRecord(job=job, attempts=attempts, records=records(connection, job.job_id), verdicts=verdicts_so_far)


def order(connection: Connection, order_id: str) -> Envelope | None:
    """A work order's envelope."""
    entry = connection.execute(_ORDER, {"order": order_id}).scalar_one_or_none()
    return None if entry is None else Envelope.from_json(entry)


def records(connection: Connection, job: JobId) -> Mapping[RecordKind, Envelope]:
    """What is on record of a job, in the order of the log."""
    found = connection.execute(_RECORDS, {"job": str(job)})
    return MappingProxyType({RecordKind(kind): Envelope.from_json(entry) for kind, _, entry in found})


def known(connection: Connection, job_id: JobId, station: str) -> Known | None:
    """What this station's log says of a job so far, for the rules of `projection`; None if there is no such job."""
    found = connection.execute(_KNOWN, {"job": str(job_id)}).all()
    if not found:
        return None
    job = _job_of(*found[0][:4])
    so_far = {
        RecordKind(row.kind): Recorded(row.leaf_index, Envelope.from_json(row.entry).payload_sha256)
        for row in found
        if row.entry is not None  # a job without records has one row, with nothing beside the job
    }
    return Known(
        station=station,
        job_id=str(job.job_id),
        device_id=str(job.device_id),
        order_id=job.order_id,
        adopted=job.adopted,
        records=so_far,
    )


def pending(connection: Connection, answered_below: int, most: int | None = None) -> tuple[tuple[OutboxItem, ...], int]:
    """Outbox rows from that leaf on without an answer, oldest first, at most so many; and the first one's leaf.

    Below that all are answered, if they are below `answered_below`.
    """
    query = (
        select(*_JOB, OutboxRow.kind, OutboxRow.leaf_index, Leaf.entry)
        .select_from(OutboxRow)
        .join(JobRow, JobRow.job_id == OutboxRow.job_id)
        .join(Leaf, Leaf.index == OutboxRow.leaf_index)
        .outerjoin(DeliveryRow, DeliveryRow.outbox_leaf == OutboxRow.leaf_index)
        .where(OutboxRow.leaf_index >= answered_below, DeliveryRow.outbox_leaf.is_(None))
        .order_by(OutboxRow.leaf_index)
        .limit(most)
    )
    found = connection.execute(query).all()
    items = tuple(
        OutboxItem(
            job=_job_of(*each[:4]), kind=RecordKind(each.kind), envelope=Envelope.from_json(each.entry),
            place=each.leaf_index,
        )
        for each in found
    )  # fmt: skip
    return items, found[0].leaf_index if found else tip(connection).size


def waiting(connection: Connection, answered_below: int) -> int:
    """How many outbox rows from that leaf on have no answer."""
    query = (
        select(func.count())
        .select_from(OutboxRow)
        .outerjoin(DeliveryRow, DeliveryRow.outbox_leaf == OutboxRow.leaf_index)
        .where(OutboxRow.leaf_index >= answered_below, DeliveryRow.outbox_leaf.is_(None))
    )
    return connection.execute(query).scalar_one()


def unfinished(connection: Connection, order_id: str) -> tuple[Job, ...]:
    """Jobs of an order with a pin statement, neither completion nor refusal, and no scrap, oldest first."""
    ends = (RecordKind.COMPLETION, RecordKind.PIN_REFUSED)
    out = scrapped(connection, order_id)
    return tuple(job for job in _between(connection, order_id, RecordKind.PIN, ends) if job.device_id not in out)


def scrapped(connection: Connection, order_id: str) -> frozenset[DeviceId]:
    """The order's devices whose scrap is on record."""
    query = select(JobRow.device_id).where(JobRow.order_id == order_id, IS_SCRAPPED)
    return frozenset(DeviceId.parse(each) for each in connection.execute(query).scalars())


def signed_for(connection: Connection, order_id: str, told: Verdicts) -> tuple[OnRecord, ...]:
    """Jobs of an order with a pin statement, with all that is on record of each, oldest first."""
    query = (
        select(*_JOB)
        .join(RecordRow, (RecordRow.job_id == JobRow.job_id) & (RecordRow.kind == RecordKind.PIN.value))
        .where(JobRow.order_id == order_id)
        .order_by(JobRow.leaf_index)
    )
    return tuple(on_record(connection, _job(each), told) for each in connection.execute(query).all())


def refused(connection: Connection, order_id: str) -> tuple[Job, ...]:
    """Jobs of an order whose pin statement the registry has refused for good, oldest first."""
    query = (
        select(*_JOB)
        .join(RecordRow, (RecordRow.job_id == JobRow.job_id) & (RecordRow.kind == RecordKind.PIN_REFUSED.value))
        .where(JobRow.order_id == order_id)
        .order_by(JobRow.leaf_index)
    )
    return tuple(_job(each) for each in connection.execute(query))


def unanswered(connection: Connection, order_id: str, intent: RecordKind) -> tuple[Job, ...]:
    """Jobs of an order with this intent and nothing that was signed for it, oldest first."""
    ends = {
        RecordKind.INTENT: (RecordKind.PIN, RecordKind.PIN_REFUSED),
        RecordKind.COMPLETION_INTENT: (RecordKind.COMPLETION,),
    }
    return _between(connection, order_id, intent, ends[intent])


def _between(connection: Connection, order_id: str, after: RecordKind, ends: tuple[RecordKind, ...]) -> tuple[Job, ...]:
    reached, end = aliased(RecordRow), aliased(RecordRow)
    ended = select(end.kind).where(end.job_id == JobRow.job_id, end.kind.in_([each.value for each in ends])).exists()
    query = (
        select(*_JOB)
        .join(reached, (reached.job_id == JobRow.job_id) & (reached.kind == after.value))
        .where(JobRow.order_id == order_id)
        .where(~ended)
        .order_by(JobRow.leaf_index)
    )
    return tuple(_job(each) for each in connection.execute(query))


def verdicts(connection: Connection, order_id: str) -> tuple[Event, ...]:
    """The verdict events of the jobs of an order that have no completion, in the order of their leaves."""
    done = select(RecordRow.kind).where(
        RecordRow.job_id == EventRow.job_id, RecordRow.kind == RecordKind.COMPLETION.value
    )
    told = select(EventRow.leaf_index).where(
        EventRow.order_id == order_id, EventRow.kind == VERDICT, EventRow.job_id != "", ~done.exists()
    )
    query = select(Leaf.entry).where(Leaf.index.in_(told)).order_by(Leaf.index)
    return tuple(read(Envelope.from_json(entry), Event) for entry in connection.execute(query).scalars())


def _job(row: Row[*JobColumns]) -> Job:
    return _job_of(*row)


def _job_of(job_id: str, device_id: str, order_id: str, adopted: int) -> Job:
    return Job(
        job_id=JobId.parse(job_id), device_id=DeviceId.parse(device_id), order_id=order_id, adopted=bool(adopted)
    )


def newest_event(connection: Connection) -> Event | None:
    """The event appended last."""
    index = select(func.max(EventRow.leaf_index)).scalar_subquery()
    entry = connection.execute(select(Leaf.entry).where(Leaf.index == index)).scalar_one_or_none()
    return None if entry is None else read(Envelope.from_json(entry), Event)


def order_ids(connection: Connection) -> tuple[str, ...]:
    """The orders this station worked under, oldest first."""
    return tuple(connection.execute(select(OrderRow.order_id).order_by(OrderRow.leaf_index)).scalars())


def papers(connection: Connection, order_id: str) -> tuple[Envelope, ...]:
    """The papers that change an order's numbers, oldest first."""
    query = (
        select(Leaf.entry)
        .join(PaperRow, PaperRow.leaf_index == Leaf.index)
        .where(PaperRow.order_id == order_id)
        .order_by(Leaf.index)
    )
    return tuple(Envelope.from_json(entry) for entry in connection.execute(query).scalars())


def last_event(connection: Connection, kind: str) -> Event | None:
    """The newest event of this kind that belongs to no order."""
    query = (
        select(Leaf.entry)
        .join(EventRow, EventRow.leaf_index == Leaf.index)
        .where(EventRow.order_id == "", EventRow.kind == kind)
        .order_by(Leaf.index.desc())
        .limit(1)
    )
    entry = connection.execute(query).scalar_one_or_none()
    return None if entry is None else read(Envelope.from_json(entry), Event)


def devices_told_of(connection: Connection, kind: str) -> frozenset[str]:
    """The devices that an event of this kind, of no order, is about."""
    query = select(EventRow.device_id).where(EventRow.order_id == "", EventRow.kind == kind)
    return frozenset(connection.execute(query).scalars())


def told_of(connection: Connection, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
    """Events of these kinds about a device that belong to no order, in log order."""
    query = (
        select(Leaf.entry)
        .join(EventRow, EventRow.leaf_index == Leaf.index)
        .where(EventRow.order_id == "", EventRow.kind.in_(kinds), EventRow.device_id == str(device))
        .order_by(Leaf.index)
    )
    return tuple(read(Envelope.from_json(entry), Event) for entry in connection.execute(query).scalars())
