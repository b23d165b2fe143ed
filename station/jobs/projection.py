"""The station's state as a pure function of its leaves: which rows a leaf implies, and whether its turn has come.

The store inserts exactly these rows with the leaf; the audit computes them again from the leaves and compares. Never
reads or writes a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.tables import Base
from station.jobs import RecordKind
from station.jobs.leaf import JOB_OPENED, JobLeaf, LeafError
from station.jobs.papers import Paper, order_of
from station.jobs.tables import (
    DeliveryRow,
    EventRow,
    JobRow,
    KeyRow,
    OrderRow,
    OutboxRow,
    PaperRow,
    RecordRow,
    SignatureRRow,
)
from trust.handshake import HandshakeReport
from trust.keys import PublicKeyError
from trust.order import WorkOrder
from trust.signed import SignedError, device_key, nonces, signed_in
from trust.statement import Completion, Event, PinStatement, Receipt

Value = str | int | bytes | None

_NEEDS = {
    RecordKind.INTENT: (),
    RecordKind.PIN: (RecordKind.INTENT,),
    RecordKind.PIN_RECEIPT: (RecordKind.PIN,),
    RecordKind.PIN_REFUSED: (RecordKind.PIN,),
    RecordKind.HANDSHAKE_REPORT: (RecordKind.PIN_RECEIPT,),
    RecordKind.COMPLETION_INTENT: (RecordKind.PIN_RECEIPT,),
    RecordKind.COMPLETION: (RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_INTENT),
    RecordKind.COMPLETION_RECEIPT: (RecordKind.COMPLETION,),
    RecordKind.COMPLETION_REFUSED: (RecordKind.COMPLETION,),
}
_EXCLUDES = {
    RecordKind.PIN_RECEIPT: RecordKind.PIN_REFUSED,
    RecordKind.PIN_REFUSED: RecordKind.PIN_RECEIPT,
    RecordKind.COMPLETION_RECEIPT: RecordKind.COMPLETION_REFUSED,
    RecordKind.COMPLETION_REFUSED: RecordKind.COMPLETION_RECEIPT,
}
_ANSWERS = {
    RecordKind.PIN_RECEIPT: RecordKind.PIN,
    RecordKind.PIN_REFUSED: RecordKind.PIN,
    RecordKind.COMPLETION_RECEIPT: RecordKind.COMPLETION,
    RecordKind.COMPLETION_REFUSED: RecordKind.COMPLETION,
}
_OF_A_STATION = PinStatement | Completion | HandshakeReport
_SENT = {RecordKind.PIN, RecordKind.COMPLETION}
_INTENT_OF = {RecordKind.PIN: RecordKind.INTENT, RecordKind.COMPLETION: RecordKind.COMPLETION_INTENT}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one table."""

    table: type[Base]
    values: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a record stands in the log, and the SHA-256 of its payload."""

    index: int
    payload_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What earlier leaves say of a job: whose log it is in, who it is, and its records so far."""

    station: str
    job_id: str
    device_id: str
    order_id: str
    adopted: bool
    records: Mapping[RecordKind, Recorded] = field(default_factory=dict)


def problem(leaf: JobLeaf, known: Known) -> str | None:
    """Why this record may not follow what is known of its job; None if it may.

    A statement needs its intent, with the same bytes, unless another station made it: a pin statement in a job that
    was adopted from there, a completion of a unit that was finished there. A receipt needs its statement, a completion
    the pin's receipt; refused and received exclude each other.
    """
    kind = leaf.kind
    if kind is None:
        return "not a record of a job"
    for name, found, wanted in _identity(leaf, known):
        if found != wanted:
            return f"{kind.value} is for {name} {found!r}, the job is for {wanted!r}"
    excluded = _EXCLUDES.get(kind)
    if excluded in known.records:
        return f"{kind.value} after {excluded}: the registry's answer does not change"
    for needed in _NEEDS[kind]:
        if needed not in known.records and not _intended_elsewhere(needed, leaf, known):
            return f"{kind.value} before {needed.value}"
    for other, named in _names(leaf, known):
        if other in known.records and known.records[other].payload_sha256 != named:
            return f"{kind.value} does not belong to the {other.value} on record: other bytes"
    return None


def rows(leaf: JobLeaf, index: int, known: Known | None) -> list[Row]:
    """The rows that a leaf implies; `known` is what earlier leaves say of its job (None for leaves of no job).

    LeafError if the device's key or a signature in it is malformed.
    """
    body = leaf.body
    if isinstance(body, WorkOrder):
        values: dict[str, Value] = {"order_id": body.order_id, "order_sha256": leaf.envelope.payload_sha256}
        return [Row(OrderRow, {**values, "leaf_index": index})]
    if isinstance(body, Paper):
        kind = str(type(body).__struct_config__.tag)
        return [Row(PaperRow, {"leaf_index": index, "kind": kind, "order_id": order_of(body)})]
    if isinstance(body, Event) and leaf.kind is None:
        return [_job(body, index) if body.kind == JOB_OPENED else _event(body, index)]
    if leaf.kind is None or known is None:
        return []
    return _record(leaf, leaf.kind, index, known)


def _record(leaf: JobLeaf, kind: RecordKind, index: int, known: Known) -> list[Row]:
    place: dict[str, Value] = {"job_id": known.job_id, "kind": kind.value, "leaf_index": index}
    made_by = leaf.body.station if isinstance(leaf.body, _OF_A_STATION) else known.station
    implied = [Row(RecordRow, {**place, "station": made_by})]
    # What follows this station's own intent is its very bytes, and indexed with it.
    first = _INTENT_OF.get(kind) not in known.records or _finished_elsewhere(leaf, known)
    if isinstance(leaf.body, PinStatement) and first:
        implied += [_key(leaf.body, index), *_nonces(leaf.body, index)]
    if isinstance(leaf.body, Completion) and first:
        implied += _nonces(leaf.body, index)
    if kind in _SENT:
        implied.append(Row(OutboxRow, place))
    answered = _ANSWERS.get(kind)
    if answered is not None and answered in known.records:
        implied.append(Row(DeliveryRow, {"outbox_leaf": known.records[answered].index, "answer_leaf": index}))
    return implied


def _job(event: Event, index: int) -> Row:
    values: dict[str, Value] = {"job_id": event.job, "device_id": event.device_id, "order_id": event.order_id}
    return Row(JobRow, {**values, "adopted": int(event.details.get("adopted") == "yes"), "leaf_index": index})


def _event(event: Event, index: int) -> Row:
    values: dict[str, Value] = {"leaf_index": index, "job_id": event.job, "device_id": event.device_id}
    return Row(EventRow, {**values, "order_id": event.order_id, "attempt": event.attempt, "kind": event.kind})


def _key(pin: PinStatement, index: int) -> Row:
    try:
        key = device_key(pin)
    except PublicKeyError as error:
        raise LeafError(f"pin statement: device key: {error}") from error
    values: dict[str, Value] = {"leaf_index": index, "fingerprint": key.fingerprint, "modulus": key.modulus}
    return Row(KeyRow, {**values, "job_id": pin.job})


def _nonces(body: PinStatement | Completion, index: int) -> list[Row]:
    try:
        used = nonces(signed_in(body))
    except SignedError as error:
        raise LeafError(str(error)) from error
    return [Row(SignatureRRow, {"r": r, "job_id": body.job, "leaf_index": index}) for r in used]


def _intended_elsewhere(needed: RecordKind, leaf: JobLeaf, known: Known) -> bool:
    if needed is RecordKind.INTENT:
        return known.adopted
    return needed is RecordKind.COMPLETION_INTENT and _finished_elsewhere(leaf, known)


def _finished_elsewhere(leaf: JobLeaf, known: Known) -> bool:
    """Another station's completion; or this one's, of a ledger that was put back from a backup: the registry had it."""
    if not isinstance(leaf.body, Completion):
        return False
    lost = known.adopted and RecordKind.COMPLETION_INTENT not in known.records
    return leaf.body.station != known.station or (leaf.kind is RecordKind.COMPLETION and lost)


def _names(leaf: JobLeaf, known: Known) -> list[tuple[RecordKind, str]]:
    """The records that a record names by the SHA-256 of their payload."""
    match leaf.body:
        case PinStatement() if leaf.kind is RecordKind.PIN:
            return [(RecordKind.INTENT, leaf.envelope.payload_sha256)]
        case Receipt(subject=subject, statement_sha256=named):
            return [(RecordKind.PIN if subject == "pin" else RecordKind.COMPLETION, named)]
        case Completion(pin_sha256=pin, receipt_sha256=receipt):
            names = [(RecordKind.PIN, pin), (RecordKind.PIN_RECEIPT, receipt)]
            if leaf.kind is RecordKind.COMPLETION_INTENT or _finished_elsewhere(leaf, known):
                return names
            return [*names, (RecordKind.COMPLETION_INTENT, leaf.envelope.payload_sha256)]
        case _:
            return []


def _identity(leaf: JobLeaf, known: Known) -> list[tuple[str, str, str]]:
    body = leaf.body
    if isinstance(body, WorkOrder | Paper):
        return []
    found = [("job", body.job, known.job_id), ("device", body.device_id, known.device_id)]
    return [*found, ("order", body.order_id, known.order_id)]
