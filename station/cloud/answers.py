"""What the registry's answers mean: bytes in, values or errors out (docs/statements.md §9). Pure; knows no HTTP client.

Never believes an answer because it says 200: what is not exactly an answer of this API counts as no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

import msgspec

from station.cloud import (
    CloudRefusedError,
    CloudUnreachableError,
    DeviceServiceAwayError,
    DeviceServiceUnableError,
    PinRecord,
    RegistryStatus,
)
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.printable import printable

T = TypeVar("T")
_MESSAGE, _EXCERPT = 500, 120  # characters of foreign text that are shown
_OK = frozenset({200, 201})
_REFUSALS, _TOO_MANY, _SERVER_ERRORS = 400, 429, 500
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvelopeError)  # all that decoding may raise

_OF_DEVICE_SERVICE = MappingProxyType(
    {Code.DEVICE_SERVICE_AWAY: DeviceServiceAwayError, Code.DEVICE_SERVICE_UNABLE: DeviceServiceUnableError}
)
_NULL = msgspec.Raw(b"null")


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    state: Literal["provisional", "active", "revoked", "scrapped"]
    statement: msgspec.Raw
    receipt: msgspec.Raw
    completion: msgspec.Raw
    completion_receipt: msgspec.Raw


class _Stored(_Held, frozen=True, kw_only=True):
    repin: msgspec.Raw = _NULL  # a registry of before has none
    repin_receipt: msgspec.Raw = _NULL


class _Scrapped(msgspec.Struct, frozen=True, kw_only=True):
    revocations: tuple[msgspec.Raw, ...]
    next: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")] | None


class _Granted(msgspec.Struct, frozen=True, kw_only=True):
    lease: msgspec.Raw


class _Issued(msgspec.Struct, frozen=True, kw_only=True):
    roster: msgspec.Raw


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    root_sha256: str
    root_version: int
    trouble: str
    device_service: str = ""  # a registry of before says nothing of one


class _Detail(msgspec.Struct, frozen=True, kw_only=True):
    code: Code
    message: str
    stored: msgspec.Raw


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: _Detail


def understood(asked: str, status: int, answer: bytes, read: Callable[[bytes], T], *, after_s: float = 0.0) -> T:
    """What a 200 or 201 says, by one of the readers below; CloudRefusedError, CloudUnreachableError for all else."""
    if status not in _OK:
        raise refusal(asked, status, answer, after_s=after_s)
    try:
        return read(answer)
    except _UNREADABLE as error:
        text = f"{asked}: {status}, but no answer of the registry: {printable(str(error), _EXCERPT)}"
        raise CloudUnreachableError(text) from error


def record(answer: bytes | msgspec.Raw) -> PinRecord:
    """What is held about a device."""
    return _record(msgspec.json.decode(answer, type=_Held))


def _record(held: _Held) -> PinRecord:
    return PinRecord(
        state=held.state,
        statement=Envelope.from_json(bytes(held.statement)),
        receipt=Envelope.from_json(bytes(held.receipt)),
        completion=_optional(held.completion),
        completion_receipt=_optional(held.completion_receipt),
    )


def _stored(raw: msgspec.Raw) -> PinRecord:
    held = msgspec.json.decode(raw, type=_Stored)
    return replace(_record(held), repin=_optional(held.repin), repin_receipt=_optional(held.repin_receipt))


def lease(answer: bytes) -> Envelope:
    """A lease."""
    return Envelope.from_json(bytes(msgspec.json.decode(answer, type=_Granted).lease))


def roster(answer: bytes) -> Envelope:
    """The newest roster."""
    return Envelope.from_json(bytes(msgspec.json.decode(answer, type=_Issued).roster))


def scrapped(answer: bytes) -> tuple[tuple[Envelope, ...], str | None]:
    """Revocations, and the next page."""
    told = msgspec.json.decode(answer, type=_Scrapped)
    return tuple(Envelope.from_json(bytes(each)) for each in told.revocations), told.next


def status_of(answer: bytes) -> RegistryStatus:
    """What the registry says of itself."""
    said = msgspec.json.decode(answer, type=_Status)
    return RegistryStatus(
        root_sha256=printable(said.root_sha256, _EXCERPT),
        root_version=said.root_version,
        trouble=printable(said.trouble, _MESSAGE),
        device_service=printable(said.device_service, _MESSAGE),
    )


def code_of(answer: bytes) -> Code:
    """The code of a refusal; one that nothing is done about if it cannot be read."""
    try:
        return msgspec.json.decode(answer, type=_Refusal).error.code
    except _UNREADABLE:
        return Code.INTERNAL


def refusal(
    asked: str, status: int, answer: bytes, *, after_s: float = 0.0
) -> CloudRefusedError | CloudUnreachableError:
    """What any other status means. `after_s`: of its Retry-After."""
    try:
        error = msgspec.json.decode(answer, type=_Refusal).error
        stored = None if bytes(error.stored) == b"null" else _stored(error.stored)
    except _UNREADABLE:
        seen = printable(answer.decode(errors="replace"), _EXCERPT)
        return CloudUnreachableError(f"{asked}: {status}, not an answer of the registry: {seen!r}", after_s=after_s)
    message = printable(error.message, _MESSAGE)
    kind = _OF_DEVICE_SERVICE.get(error.code)
    if kind is not None:
        return kind(f"{asked}: {status} {error.code.value}: {message}", after_s=after_s)
    if not _REFUSALS <= status < _SERVER_ERRORS or status == _TOO_MANY:  # it was not even looked at
        return CloudUnreachableError(f"{asked}: {status} {error.code.value}: {message}", after_s=after_s)
    return CloudRefusedError(error.code, message, stored)


def _optional(raw: msgspec.Raw) -> Envelope | None:
    return None if bytes(raw) == b"null" else Envelope.from_json(bytes(raw))
