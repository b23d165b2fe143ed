"""Requests and answers of the registry's HTTP API as JSON: strict reading, and one spelling of each answer.

Envelopes are cut out of a body as raw bytes and read by `trust.dsse`, so that what was sent is what is judged and
stored. The same classes make the schemas of `registry.openapi`. Never decides anything about what it reads.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

import msgspec

from registry.errors import RefusedError
from registry.pins.reading import Reading
from registry.pins.record import PinRecord
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId, IdentityError
from trust.pin_act import State

RawEnvelope = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/Envelope"})]


class PinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT /v1/pins/{device_id}: two envelopes."""

    statement: RawEnvelope
    order: RawEnvelope


class CompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT /v1/pins/{device_id}/completion: one envelope."""

    completion: RawEnvelope


class LeaseDemand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/leases: a signer's signed request."""

    request: RawEnvelope


class LeaseAnswer(msgspec.Struct, frozen=True):
    """The lease that answers it."""

    lease: RawEnvelope


R = TypeVar("R", bound=msgspec.Struct)


class PinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is held about a device."""

    state: State
    statement: RawEnvelope
    receipt: RawEnvelope
    completion: RawEnvelope | None
    completion_receipt: RawEnvelope | None


class StoredAnswer(PinAnswer, frozen=True, kw_only=True):
    """What stands against a statement; `repin` is a key that the device got later, where it is that which does."""

    repin: RawEnvelope | None
    repin_receipt: RawEnvelope | None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A state the pin has had, since when (UTC) and by which statement."""

    state: State
    at: str
    statement_sha256: str


class HistoryAnswer(PinAnswer, frozen=True, kw_only=True):
    """What is held about a device, and how it came to be so, oldest first."""

    history: tuple[HistoryEntry, ...]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Which registry this is, and what keeps it from signing receipts now; `trouble` is empty if nothing does.

    `device_service` says why no unit can be met now, and is empty if one can.
    """

    registry: str
    environment: str
    root_sha256: str
    root_version: int
    version: str
    trouble: str
    device_service: str = ""


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """That it is so; what is not is a refusal."""

    status: Literal["live", "ready"]


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Why not; `stored` is what the registry holds, if that is the reason."""

    code: Code
    message: str
    stored: StoredAnswer | None


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The one shape of a refusal."""

    error: ErrorDetail


def read_request(body: bytes, kind: type[R]) -> R:
    """The request's parts; RefusedError MALFORMED for anything that is not exactly such a body."""
    try:
        json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
        return msgspec.json.decode(body, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(Code.MALFORMED, f"body is not a {kind.__name__}: {error}") from error


def read_envelope(raw: msgspec.Raw, what: str) -> Envelope:
    """One embedded envelope in its canonical form; RefusedError MALFORMED otherwise."""
    try:
        return Envelope.from_json(bytes(raw))
    except EnvelopeError as error:
        raise RefusedError(Code.MALFORMED, f"{what}: {error}") from error


def read_device(text: str) -> DeviceId:
    """The device id of a path."""
    try:
        return DeviceId.parse(text)
    except IdentityError as error:
        raise RefusedError(Code.MALFORMED, str(error)) from error


def health_answer(status: Literal["live", "ready"]) -> bytes:
    """Answer to who asks how it is."""
    return msgspec.json.encode(HealthAnswer(status=status))


def pin_answer(record: PinRecord) -> bytes:
    """Answer to a PUT."""
    return msgspec.json.encode(_held(record))


def lease_answer(lease: Envelope) -> bytes:
    """Answer to a signer's request."""
    return msgspec.json.encode(LeaseAnswer(lease=raw(lease)))


def history_answer(reading: Reading) -> bytes:
    """Answer to a GET of a device's pin: its first statement and its completion, and what became of it."""
    rows = reading.rows
    done = rows.completion
    entries: list[tuple[State, str, str]] = [
        ("provisional", reading.registered_at, str(rows.pin["statement_sha256"])),
    ]
    if done is not None:
        entries.append(("active", str(reading.completed_at), str(done["statement_sha256"])))
    entries += [(each.life.state, each.at, each.statement_sha256) for each in reading.deeds]
    return msgspec.json.encode(
        HistoryAnswer(
            state=reading.state,
            statement=msgspec.Raw(rows.pin["statement"]),
            receipt=msgspec.Raw(rows.receipts[rows.pin["statement_sha256"]]),
            completion=None if done is None else msgspec.Raw(done["statement"]),
            completion_receipt=None if done is None else msgspec.Raw(rows.receipts[done["statement_sha256"]]),
            history=tuple(HistoryEntry(state=state, at=at, statement_sha256=sha256) for state, at, sha256 in entries),
        )
    )


def error_answer(code: Code, message: str, stored: PinRecord | None = None) -> bytes:
    """Answer to whatever was refused."""
    return msgspec.json.encode(ErrorAnswer(error=error_detail(code, message, stored)))


def error_detail(code: Code, message: str, stored: PinRecord | None = None) -> ErrorDetail:
    """Why not, as a part of an answer."""
    return ErrorDetail(code=code, message=message, stored=None if stored is None else _stored(stored))


def _held(record: PinRecord) -> PinAnswer:
    done = record.completion
    return PinAnswer(
        state=record.state,
        statement=raw(record.pin.statement),
        receipt=raw(record.pin.receipt),
        completion=None if done is None else raw(done.statement),
        completion_receipt=None if done is None else raw(done.receipt),
    )


def _stored(record: PinRecord) -> StoredAnswer:
    held, later = _held(record), record.later
    return StoredAnswer(
        **{name: getattr(held, name) for name in PinAnswer.__struct_fields__},
        repin=None if later is None else raw(later.statement),
        repin_receipt=None if later is None else raw(later.receipt),
    )


def raw(envelope: Envelope) -> msgspec.Raw:
    """The envelope as a part of an answer."""
    return msgspec.Raw(envelope.to_json())


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
