"""What a log entry is: its bytes alone tell kind, job and place in the log. One rule for the writer and for the audit.

Parsing only: signatures are not looked at here (`station.audit` and the flow's checks do), nothing is read or written.
"""

from __future__ import annotations

from dataclasses import dataclass

from station.jobs import RecordKind
from station.jobs.papers import PAPERS, Paper, place
from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.dsse import Envelope, EnvelopeError
from trust.handshake import HandshakeReport
from trust.lease import Lease
from trust.minutes import Minutes
from trust.order import WorkOrder
from trust.revocation import Revocation
from trust.statement import Completion, Event, PinStatement, Receipt, StatementError, read

JOB_OPENED = "job"
ATTEMPT = "attempt"
VERDICT = "verdict"
REWORK_ENDED = "rework-ended"
VERIFIED_AGAIN = "verified-again"
ORDER_STEP = "order"
_EVENT_SUBJECT = "event"

Body = PinStatement | Completion | HandshakeReport | Receipt | Event | WorkOrder | Paper
_BODIES: tuple[type[Body], ...] = (PinStatement, Completion, HandshakeReport, Receipt, Event, WorkOrder, *PAPERS)


class LeafError(ValueError):
    """The entry is no leaf of a station's log; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLeaf:
    """A parsed entry. `kind` is set for the records of a job; (subject, step) is its one place in the log."""

    envelope: Envelope
    body: Body
    kind: RecordKind | None
    subject: str
    step: str

    @property
    def job(self) -> str:
        """The job it belongs to (32 hex digits), or empty."""
        return "" if isinstance(self.body, WorkOrder | Paper) else self.body.job


def parse_entry(entry: bytes) -> JobLeaf:
    """From a leaf's bytes; LeafError unless they are one of this log's kinds in its one spelling."""
    try:
        return parse_leaf(Envelope.from_json(entry))
    except EnvelopeError as error:
        raise LeafError(str(error)) from error


def parse_leaf(envelope: Envelope) -> JobLeaf:
    """From an envelope; LeafError unless it is one of this log's kinds in its one spelling."""
    kinds = {each.PAYLOAD_TYPE: each for each in _BODIES}
    if envelope.payload_type not in kinds:
        raise LeafError(f"payload type {envelope.payload_type!r} is not kept in this log")
    try:
        body: Body = read(envelope, kinds[envelope.payload_type])
    except StatementError as error:
        raise LeafError(str(error)) from error
    kind = _kind(body, signed=bool(envelope.signatures))
    subject, step = _place(body, kind, envelope)
    return JobLeaf(envelope=envelope, body=body, kind=kind, subject=subject, step=step)


def _kind(body: Body, *, signed: bool) -> RecordKind | None:
    match body:
        case PinStatement():
            return RecordKind.PIN if signed else RecordKind.INTENT
        case Completion():
            return RecordKind.COMPLETION if signed else RecordKind.COMPLETION_INTENT
        case Receipt():
            return RecordKind.PIN_RECEIPT if body.subject == "pin" else RecordKind.COMPLETION_RECEIPT
        case HandshakeReport():
            return RecordKind.HANDSHAKE_REPORT
        case Event(kind=RecordKind.PIN_REFUSED.value | RecordKind.COMPLETION_REFUSED.value as refused):
            return RecordKind(refused)
        case _:
            return None


def _place(body: Body, kind: RecordKind | None, envelope: Envelope) -> tuple[str, str]:
    match body:
        case WorkOrder():
            return body.order_id, ORDER_STEP
        case Balance() | AllotmentReturn() | Act() | Revocation() | Lease() | Minutes():
            return place(body, envelope.payload_sha256)
        case Event(kind=event_kind, job=job) if kind is None and event_kind != JOB_OPENED:
            return (job, f"{body.attempt}:{event_kind}") if job else (_EVENT_SUBJECT, envelope.payload_sha256)
        case _:
            return body.job, JOB_OPENED if kind is None else kind.value
