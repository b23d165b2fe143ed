"""What a log entry is: its bytes alone tell kind, job and place in the log. One rule for the writer and for the audit.

Parsing only: signatures are not looked at here (`station.audit` and the receipt check do), nothing is read or written.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from station.jobs import RecordKind
from trust.dsse import Envelope, EnvelopeError
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.statement import Completion, Event, PinStatement, Receipt, StatementError, read

JOB_OPENED = "job"
ATTEMPT = "attempt"
VERDICT = "verdict"
ORDER_STEP = "order"
_EVENT_SUBJECT = "event"
_R_BYTES = 32
_RSA_BYTES = 256  # an RSA-2048 signature (RFC 8017 §8.2.1); ECDSA P-256 in DER has 72 at most

Body = PinStatement | Completion | Receipt | Event | WorkOrder
_BODIES: tuple[type[Body], ...] = (PinStatement, Completion, Receipt, Event, WorkOrder)


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
        return "" if isinstance(self.body, WorkOrder) else self.body.job


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


def key_of(pin: PinStatement) -> PublicKey:
    """The device key a pin statement names; LeafError if it is none or not the one of its fingerprint."""
    try:
        key = PublicKey.from_der(pin.spki)
    except PublicKeyError as error:
        raise LeafError(f"pin statement: {error}") from error
    if key.fingerprint != pin.fingerprint or key.key_type.value != pin.key_type:
        raise LeafError("pin statement: fingerprint or key type is not that of its key")
    return key


def signature_rs(body: PinStatement | Completion) -> tuple[bytes, ...]:
    """The r of each ECDSA signature the device made in it, 32 bytes each; none for RSA. LeafError for malformed DER.

    Twice the same signature is one signature (RFC 6979 devices); two different ones with one r are told as two.
    """
    signatures: tuple[bytes, ...] = body.possession.signatures if isinstance(body, PinStatement) else ()
    if isinstance(body, Completion):
        signatures = (*body.verification.possession.signatures, body.closing.signature)
    different = [each for each in dict.fromkeys(signatures) if len(each) != _RSA_BYTES]
    try:
        return tuple(decode_dss_signature(each)[0].to_bytes(_R_BYTES) for each in different)
    except (ValueError, OverflowError) as error:
        raise LeafError(f"a device's signature is neither RSA-2048 nor ECDSA in DER ({error})") from error


def _kind(body: Body, *, signed: bool) -> RecordKind | None:
    match body:
        case PinStatement():
            return RecordKind.PIN if signed else RecordKind.INTENT
        case Completion():
            return RecordKind.COMPLETION if signed else RecordKind.COMPLETION_INTENT
        case Receipt():
            return RecordKind.PIN_RECEIPT if body.subject == "pin" else RecordKind.COMPLETION_RECEIPT
        case Event(kind=RecordKind.PIN_REFUSED.value | RecordKind.COMPLETION_REFUSED.value as refused):
            return RecordKind(refused)
        case _:
            return None


def _place(body: Body, kind: RecordKind | None, envelope: Envelope) -> tuple[str, str]:
    match body:
        case WorkOrder():
            return body.order_id, ORDER_STEP
        case Event(kind=event_kind, job=job) if kind is None and event_kind != JOB_OPENED:
            return (job, f"{body.attempt}:{event_kind}") if job else (_EVENT_SUBJECT, envelope.payload_sha256)
        case _:
            return body.job, JOB_OPENED if kind is None else kind.value
