"""The signer's socket: frames, requests and answers, for server and client. One body type a verb, none of bare bytes.

A frame is a 4-byte big-endian length and that many bytes of JSON, at most 64 KiB. `v` comes first in meaning: another
version is refused before anything else is looked at.
"""

from __future__ import annotations

import struct
from typing import Annotated, Literal, TypeVar

import msgspec

from hsm.signer import SignerError, SignerForbiddenError, SignerUnavailableError
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.lease import Lease
from trust.printable import printable
from trust.revocation import Revocation
from trust.roster import Roster
from trust.statement import Completion, PinStatement, Receipt

T = TypeVar("T")
MAX_FRAME_BYTES = 65_536
MAX_RECEIPTS = 48
LENGTH = struct.Struct(">I")
_QUOTED = 300  # characters of a decoder's words, which quote foreign keys: a refusal must fit into a frame
_MAX_ID = 2**53 - 1  # what every JSON reader takes exactly (RFC 8259 §6)


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question; `id` comes back in the answer, so that many can be under way on one connection."""

    v: Literal[1]
    verb: str
    id: Annotated[int, msgspec.Meta(ge=1, le=_MAX_ID)]
    body: msgspec.Raw


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why not: a stable code and a text for people."""

    code: str
    message: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`ok` or `error`. `id` 0 answers a frame that could not be read; the connection is closed after it."""

    v: Literal[1]
    id: int
    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Refusal | msgspec.UnsetType = msgspec.UNSET


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb that needs no body, `{}`."""


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`import_order`."""

    order: Envelope


class PinBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_pin`."""

    statement: PinStatement


class CompletionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_completion`."""

    completion: Completion
    pin: Envelope
    receipt: Envelope


class EnvelopeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`import_lease`, `import_revocation`, `perform_act`: a statement that somebody else has signed."""

    envelope: Envelope


class ReturnBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`return_allotment`."""

    order_id: str


class LeaseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_lease`."""

    lease: Lease


class RevocationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_revocation`: with the approved act that wants it."""

    revocation: Revocation
    act: Envelope


class RosterBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_roster`."""

    roster: Roster


class ReportBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_handshake`."""

    report: HandshakeReport


class AssertionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`client_assertion`."""

    audience: str


class TcpOpenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tcp_open`: a device's message, and the nonce that it was given."""

    ciphertext: Annotated[bytes, msgspec.Meta(min_length=256, max_length=256)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=40, max_length=40)]


class TcpSignBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tcp_sign`: HMAC-SHA1."""

    mac: Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]


class DtlsSignBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dtls_sign`: SHA-256."""

    digest: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class ReceiptBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_receipt`."""

    receipt: Receipt


class ReceiptsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_receipts`: as many as their envelopes fit into one frame, with names as long as names may be."""

    receipts: Annotated[tuple[Receipt, ...], msgspec.Meta(min_length=1, max_length=MAX_RECEIPTS)]


class OneOfMany(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one of many requests in a body has got: `ok` or `error`."""

    ok: Envelope | msgspec.UnsetType = msgspec.UNSET
    error: Refusal | msgspec.UnsetType = msgspec.UNSET


class FrameError(Exception):
    """Not a frame or request of this protocol; the text says why, the code says whether it was too large."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length in front; FrameError when it is longer than a frame may be."""
    data = msgspec.json.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError(Code.TOO_LARGE, f"message of {len(data)} bytes: at most {MAX_FRAME_BYTES} are taken")
    return LENGTH.pack(len(data)) + data


def body_length(head: bytes) -> int:
    """How many bytes follow a frame's 4-byte head; FrameError when they are none or too many."""
    (length,) = LENGTH.unpack(head)
    if not 0 < length <= MAX_FRAME_BYTES:
        code = Code.TOO_LARGE if length else Code.MALFORMED
        raise FrameError(code, f"frame of {length} bytes: 1 to {MAX_FRAME_BYTES} are taken")
    return int(length)


def decoded(data: bytes | msgspec.Raw, kind: type[T], otherwise: str) -> T:
    """What these bytes of JSON say; FrameError, and nothing else, beginning with `otherwise`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(Code.MALFORMED, f"{otherwise}: {printable(str(error), _QUOTED)}") from error


def parse_request(data: bytes) -> Request:
    """The request in a frame; FrameError."""
    return decoded(data, Request, "not a request of version 1")


def parse_answer(data: bytes) -> Answer:
    """The answer in a frame; FrameError."""
    return decoded(data, Answer, "not an answer of version 1")


def accepted(request_id: int, result: object) -> Answer:
    """A good answer."""
    return Answer(v=1, id=request_id, ok=msgspec.Raw(msgspec.json.encode(result)))


def refused(request_id: int, code: Code, message: str) -> Answer:
    """A refusal."""
    return Answer(v=1, id=request_id, error=Refusal(code=code.value, message=message))


def refusal_of(told: Refusal) -> SignerError:
    """The refusal as whoever asked hears it."""
    return SignerError(Code(told.code) if told.code in set(Code) else Code.INTERNAL, told.message)


def result(answer: Answer, kind: type[T]) -> T:
    """What a client makes of an answer: the result, SignerError, or SignerUnavailableError when the token is away."""
    if isinstance(answer.error, Refusal):
        code = refusal_of(answer.error).code
        if code is Code.TOKEN_UNAVAILABLE:
            raise SignerUnavailableError(answer.error.message)
        if code is Code.NOT_AUTHORISED and answer.id == 0:  # whoever asks: no request was read
            raise SignerForbiddenError(answer.error.message)
        raise SignerError(code, answer.error.message)
    if isinstance(answer.ok, msgspec.UnsetType):
        raise FrameError(Code.MALFORMED, "an answer with neither result nor refusal")
    return decoded(answer.ok, kind, "not the expected answer")
