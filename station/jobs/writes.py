"""Writing the station's memory: each function is one step inside the caller's transaction, leaf and rows together.

The database's constraints decide about duplicates; reading first is only for a better sentence. Never commits.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from ledger.append import append
from ledger.engine import Connection
from station.jobs import DuplicateKeyError, Job, OnRecord, RecordConflictError, RecordKind, queries
from station.jobs.leaf import ATTEMPT, JOB_OPENED, JobLeaf, LeafError, parse_leaf
from station.jobs.papers import Paper
from station.jobs.projection import Known, Row, problem, rows
from station.jobs.stamp import Stamp
from station.jobs.tables import STATE, KeyRow, SignatureRRow
from station.jobs.told import Verdicts
from trust.dsse import MAX_ENVELOPE_BYTES, Envelope
from trust.identity import DeviceId, JobId
from trust.order import WorkOrder
from trust.revocation import Revocation
from trust.statement import Event
from trust.statement import envelope as wrap

# Core inserts built once: through the mapped classes each would cost several times what the database takes.
_INSERTS = MappingProxyType({table: insert(table.metadata.tables[table.__tablename__]) for table in STATE})


def keep_order(connection: Connection, order: Envelope) -> None:
    """The order's envelope as a leaf; the same body again, approved by others, changes nothing."""
    leaf = _parse(order)
    if not isinstance(leaf.body, WorkOrder):
        raise RecordConflictError(f"{order.payload_type} is not a work order")
    kept = queries.order(connection, leaf.body.order_id)
    if kept is not None and kept.same_statement(order) and bool(kept.signatures) == bool(order.signatures):
        return
    _append(connection, leaf, known=None)


def keep_paper(connection: Connection, paper: Envelope) -> None:
    """A statement that is about no job, as a leaf; the same again is fine, also if it was signed anew.

    So is the scrap of a device that is scrapped here already: it was taken back at the registry, and is done again.
    """
    leaf = _parse(paper)
    if not isinstance(leaf.body, Paper):
        raise RecordConflictError(f"{paper.payload_type} is not kept by itself")
    if isinstance(leaf.body, Revocation) and leaf.body.cause != "scrapped":
        raise RecordConflictError(f"device {leaf.body.device_id}: its key was revoked; only scrap is kept here")
    kept = queries.leaf_at(connection, leaf.subject, leaf.step)
    if kept is not None and (kept.same_statement(paper) or isinstance(leaf.body, Revocation)):
        return
    _append(connection, leaf, known=None)


def begin(
    connection: Connection,
    stamp: Stamp,
    device: DeviceId,
    order_id: str,
    *,
    slot: str,
    adopt: JobId | None,
    told: Verdicts,
) -> OnRecord:
    """The device's job under this order, made with its leaf if there is none, and one more attempt of it."""
    there = queries.find_under(connection, device, order_id)
    if there is None:
        there = _open(connection, stamp, device, order_id, adopt)
    elif adopt is not None and there.job_id != adopt:
        raise RecordConflictError(f"device {device} has job {there.job_id} under {order_id} here, not {adopt}")
    so_far = queries.on_record(connection, there, told)
    attempt = so_far.attempts + 1
    note(connection, stamp.event(ATTEMPT, there, attempt=attempt, details={"slot": slot}))
    return replace(so_far, attempts=attempt)


def _open(connection: Connection, stamp: Stamp, device: DeviceId, order_id: str, adopt: JobId | None) -> Job:
    job = Job(job_id=adopt or JobId.new(), device_id=device, order_id=order_id, adopted=adopt is not None)
    if adopt is not None and queries.find(connection, job.job_id) is not None:
        raise RecordConflictError(f"job {job.job_id} is on record here for another device or order")
    event = stamp.event(JOB_OPENED, job, details={"adopted": "yes" if job.adopted else "no"})
    _append(connection, _parse(wrap(event)), known=None)
    return job


def record(connection: Connection, station: str, job_id: JobId, kind: RecordKind, envelope: Envelope) -> None:
    """One step of a job on record: leaf, record, keys and outbox row."""
    leaf = _parse(envelope)
    if leaf.kind is not kind:
        raise RecordConflictError(f"these bytes are {leaf.kind or 'no record'}, not {kind.value}")
    known = queries.known(connection, job_id, station)
    if known is None:
        raise RecordConflictError(f"there is no job {job_id}: open it first")
    there = known.records.get(kind)
    if there is not None and there.payload_sha256 == envelope.payload_sha256:
        return  # what is on record stands; only its signature can be another one
    # A step that is on record is only compared (by `append`), never judged again.
    wrong = None if there is not None else problem(leaf, known)
    if wrong is not None:
        raise RecordConflictError(f"job {job_id}: {wrong}")
    _append(connection, leaf, known=known)


def note(connection: Connection, event: Event) -> None:
    """An event of the line as a leaf."""
    leaf = _parse(wrap(event))
    if leaf.kind is not None or event.kind == JOB_OPENED:
        raise RecordConflictError(f"event kind {event.kind!r} is kept for records of a job: use another")
    _append(connection, leaf, known=None)


def _append(connection: Connection, leaf: JobLeaf, known: Known | None) -> None:
    entry = leaf.envelope.to_json()
    if len(entry) > MAX_ENVELOPE_BYTES:
        raise RecordConflictError(f"{leaf.step} has {len(entry)} bytes: the log takes {MAX_ENVELOPE_BYTES}")
    ref = append(connection, entry, subject=leaf.subject, step=leaf.step)
    if not ref.new:
        return  # the same bytes again: everything they imply is there already
    try:
        implied = rows(leaf, ref.index, known)
    except LeafError as error:
        raise RecordConflictError(str(error)) from error
    for row in implied:
        _insert(connection, row)


def _insert(connection: Connection, row: Row) -> None:
    try:
        connection.execute(_INSERTS[row.table], row.values)
    except IntegrityError as error:
        holder = _holder(connection, row)
        if holder is None:
            raise
        if holder == row.values["job_id"]:  # no two units: the flow looks at one unit's own nonces before it gets here
            raise RecordConflictError(f"job {holder}: the device used one ECDSA r for two signatures") from error
        what = "key" if row.table is KeyRow else "ECDSA r"
        raise DuplicateKeyError(f"this {what} is on record under job {holder}", JobId.parse(holder)) from error


def _holder(connection: Connection, row: Row) -> str | None:
    """The job that has this key, modulus or r already."""
    values = row.values
    if row.table is SignatureRRow:
        return connection.execute(select(SignatureRRow.job_id).where(SignatureRRow.r == values["r"])).scalar()
    if row.table is not KeyRow:
        return None
    same = (KeyRow.fingerprint == values["fingerprint"]) | (KeyRow.modulus == values["modulus"])
    return connection.execute(select(KeyRow.job_id).where(same)).scalar()


def _parse(envelope: Envelope) -> JobLeaf:
    try:
        return parse_leaf(envelope)
    except LeafError as error:
        raise RecordConflictError(str(error)) from error
