"""The statements that parties sign, as values, and the one encoding of each.

A payload is canonical JSON (sorted keys, no space; the subset of RFC 8785 that plain ASCII needs). Reading refuses any
other spelling, so equal statements are equal bytes. Never decides whether a statement is *right*: that is
`trust.order.permits`, the signer's policy and the registry's constraints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec

from trust.dsse import Envelope, Signature
from trust.keys import PublicKey
from trust.printable import quoted

# \A and \Z, not ^ and $: `$` would let a newline at the end through; \d would take the digits of every script.
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
MaybeHex32 = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
DeviceHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{24}\Z")]
JobHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?\Z")]
Utc = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
KeyTypeName = Literal["ec-p256", "rsa-2048", "rsa-1024"]
Waiver = Literal["service-away", "no-tunnel"]
Origin = Literal["generated", "collected", "injected"]


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every statement carries: environment and trust root, both inside the signature."""

    PAYLOAD_TYPE: ClassVar[str]
    v: Literal[1] = 1
    environment: Name
    root_sha256: Hex32


class Possession(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two signatures by the device over one challenge (docs/wire.md §4.3)."""

    challenge: bytes
    context: Text
    signatures: tuple[bytes, bytes]


class Vetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was checked about the key. `unknown` is not ok."""

    verdict: Literal["ok", "weak", "unknown"]
    checks: tuple[Text, ...]


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device said of itself when the key was made; `emulated` if device or bench said so."""

    hardware: Text
    firmware_version: Text
    firmware_sha256: Hex32
    debug_closed: bool
    readout_protected: bool
    key_storage: Text
    emulated: bool


class PinStatement(Statement, frozen=True, kw_only=True, tag="pin"):
    """Device `device_id` holds the private key of `spki`: signed by the station's signer (purpose *pin*)."""

    PAYLOAD_TYPE = "application/vnd.keystation.pin.v1+json"
    order_id: Name
    order_sha256: Hex32
    order_signed: bool
    station: Name
    job: JobHex
    device_id: DeviceHex
    product: Name
    product_id: int
    key_type: KeyTypeName
    spki: bytes
    fingerprint: Hex32
    origin: Origin
    origin_proven: bool
    possession: Possession
    vetting: Vetting
    declared: Declared
    made_at: Utc


class Closing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device's closing report over the signer's challenge (docs/wire.md §4.6)."""

    challenge: bytes
    report: bytes
    signature: bytes


class Verification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What state 10 really did: how power was cycled, a second proof, and what became of the live handshake.

    Which of the three last entries go together, and whether they are enough, says `trust.handshaken`.
    """

    cycle: Literal["power-cycle", "reset"]
    possession: Possession
    handshake: Literal["proved", "waived", "not-asked"]
    handshake_report: Envelope | None = None
    handshake_waiver: Literal["", Waiver] = ""


class Completion(Statement, frozen=True, kw_only=True, tag="completion"):
    """The device is finished: both pins hold, writes are closed. Signed by the signer (purpose *completion*)."""

    PAYLOAD_TYPE = "application/vnd.keystation.completion.v1+json"
    order_id: Name
    order_sha256: Hex32
    station: Name
    job: JobHex
    device_id: DeviceHex
    fingerprint: Hex32
    pin_sha256: Hex32
    receipt_sha256: Hex32
    cloud_fingerprint: Hex32
    authority_fingerprint: Hex32
    service: Literal["tcp", "udp"]
    host: Text
    port: int
    verification: Verification
    write_refused_after_lock: bool
    closing: Closing
    emulated: bool
    made_at: Utc


class Receipt(Statement, frozen=True, kw_only=True, tag="receipt"):
    """The registry holds this statement: signed by the registry's cloud-role signer (purpose *receipt*)."""

    PAYLOAD_TYPE = "application/vnd.keystation.receipt.v1+json"
    registry: Name
    subject: Literal["pin", "completion", "act", "repin"]
    statement_sha256: Hex32
    order_id: Name
    job: JobHex
    device_id: DeviceHex
    fingerprint: Hex32
    state: Literal["provisional", "active", "revoked", "scrapped"]
    registered_at: Utc


class Event(Statement, frozen=True, kw_only=True, tag="event"):
    """Something that happened at the station; a leaf without signature, covered by the checkpoint. No personal data."""

    PAYLOAD_TYPE = "application/vnd.keystation.event.v1+json"
    station: Name
    kind: Name
    at: Utc
    order_id: str = ""
    job: str = ""
    device_id: str = ""
    attempt: int = 0
    details: dict[str, str] = {}


S = TypeVar("S", bound=Statement)


class StatementError(ValueError):
    """The envelope does not hold the statement that was asked for; the text says why."""


def encode(statement: Statement) -> bytes:
    """The statement's one spelling in bytes."""
    return msgspec.json.encode(statement, order="sorted")


def envelope(statement: Statement, *signatures: Signature) -> Envelope:
    """An envelope of the statement's kind; without signatures it is an unsigned leaf or an intent."""
    return Envelope(encode(statement), statement.PAYLOAD_TYPE, signatures)


def read(wrapped: Envelope, kind: type[S]) -> S:
    """The statement inside, signature not looked at. Refuses other kinds and other spellings with StatementError."""
    if wrapped.payload_type != kind.PAYLOAD_TYPE:
        raise StatementError(f"payload type {wrapped.payload_type!r}: expected {kind.PAYLOAD_TYPE!r}")
    try:
        statement = msgspec.json.decode(wrapped.payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StatementError(f"not a {kind.__name__}: {quoted(error)}") from error
    if encode(statement) != wrapped.payload:
        raise StatementError(f"{kind.__name__} is not in canonical form: keys twice, out of order, or extra space")
    return statement


def moment(at: str) -> datetime:
    """The point in time; StatementError for one that does not exist, such as the 13th month."""
    try:
        return datetime.fromisoformat(at)
    except ValueError as error:
        raise StatementError(f"{at} is no time that exists") from error


def verify(wrapped: Envelope, kind: type[S], key: PublicKey) -> S:
    """The statement inside, if the key signed it; StatementError otherwise."""
    if not wrapped.signed_by(key):
        raise StatementError(f"{kind.__name__}: not signed by key {key.fingerprint[:16]}… and by it alone")
    return read(wrapped, kind)
