"""What a pin statement and a completion must satisfy before the registry stores them: pure, every rule by value.

In the order that docs/statements.md gives; the first rule that fails names the refusal. Never looks at what is stored
but for the values handed in, and never counts: the order's quantity is the signer's to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.pins.errors import RefusedError
from trust import order as orders
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.order import OrderError, WorkOrder
from trust.proof import proof_message, proves
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, Possession, Statement, StatementError, read

S = TypeVar("S", PinStatement, WorkOrder, Completion)
_SCALAR_BYTES = 32
_KNOWN_ORDERS = 16  # of at most 65,535 bytes each
Signed = tuple[bytes, bytes]
"""A message and the signature over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPin:
    """A pin statement that holds under its order: may be inserted. Only `check_pin` makes one."""

    device: DeviceId
    statement: PinStatement
    envelope: Envelope
    order: WorkOrder
    order_envelope: Envelope
    key: PublicKey
    nonces: frozenset[bytes]


def check_pin(trusted: TrustedRoot, device: DeviceId, envelope: Envelope, order_envelope: Envelope) -> CheckedPin:
    """The pin statement, if every rule that needs no memory holds; RefusedError otherwise."""
    pin, order = parsed(envelope, PinStatement), parsed_order(order_envelope)
    require_here(trusted, pin, "pin statement")
    require_here(trusted, order, "order")
    _require_order(order, order_envelope, pin)
    require_signature(envelope, trusted.root.pin_key, pin.station, "pin statement")
    require_device(device, pin.device_id)
    key = _key(pin)
    require_possession(key, device, pin.possession, "pin")
    if pin.vetting.verdict != "ok":
        raise RefusedError(Code.KEY_WEAK, f"vetting says {pin.vetting.verdict!r}: only 'ok' is pinned")
    require_permitted(orders.permits(order, order_envelope.payload_sha256, pin))
    return CheckedPin(
        device=device, statement=pin, envelope=envelope, order=order, order_envelope=order_envelope, key=key,
        nonces=nonces(key, proof_signatures(device, pin.possession)),
    )  # fmt: skip


def parsed(envelope: Envelope, kind: type[S]) -> S:
    """The statement of this kind in its one spelling, signature not looked at."""
    try:
        return read(envelope, kind)
    except StatementError as error:
        raise RefusedError(Code.STATEMENT_INVALID, str(error)) from error


def parsed_order(envelope: Envelope) -> WorkOrder:
    """`parsed` of an order. Remembered by the envelope's bytes, as all devices of a batch come with the same one."""
    return _parsed_order(envelope)


def require_here(trusted: TrustedRoot, statement: Statement, what: str) -> None:
    """The statement belongs to this environment and was made under this trust root."""
    wanted, found = trusted.root.environment, statement.environment
    if found != wanted:
        raise RefusedError(Code.WRONG_ENVIRONMENT, f"{what} is of environment {found!r}, this registry of {wanted!r}")
    made_under, own = statement.root_sha256[:16], trusted.sha256[:16]
    if statement.root_sha256 != trusted.sha256:
        raise RefusedError(Code.WRONG_ROOT, f"{what} was made under trust root {made_under}…, this registry has {own}…")


def require_signature(envelope: Envelope, key_of: Callable[[str], PublicKey], station: str, what: str) -> None:
    """One signature, by the key that the trust root gives this station for this purpose."""
    if len(envelope.signatures) != 1:
        raise RefusedError(Code.STATEMENT_INVALID, f"{what} carries {len(envelope.signatures)} signatures, not one")
    try:
        key = key_of(station)
    except RootError as error:
        raise RefusedError(Code.STATEMENT_INVALID, str(error)) from error
    if not envelope.signed_by(key):
        text = f"{what} is not signed by the key that the trust root gives station {station!r} for it"
        raise RefusedError(Code.STATEMENT_INVALID, text)


def require_device(device: DeviceId, named: str) -> None:
    """The statement speaks of the device in the request's path."""
    if str(device) != named:
        raise RefusedError(Code.STATEMENT_INVALID, f"the path names device {device}, the statement device {named}")


def require_possession(key: PublicKey, device: DeviceId, possession: Possession, context: str) -> None:
    """Both signatures prove that this device holds the key, in this context."""
    if possession.context != context:
        raise RefusedError(Code.PROOF_INVALID, f"proof is for context {possession.context!r}, expected {context!r}")
    try:
        held = all(proves(key, device, context, possession.challenge, each) for each in possession.signatures)
    except ValueError as error:
        raise RefusedError(Code.PROOF_INVALID, f"proof of possession: {error}") from error
    if not held:
        raise RefusedError(Code.PROOF_INVALID, "proof of possession does not verify with the device's key")


def require_permitted(reason: str | None) -> None:
    """`trust.order.permits` found no reason against the statement."""
    if reason is not None:
        raise RefusedError(Code.ORDER_REFUSES, f"the order does not permit this: {reason}")


def proof_signatures(device: DeviceId, possession: Possession) -> list[Signed]:
    """Both signatures of a proof that holds, each with the message that it signs."""
    message = proof_message(device, possession.context, possession.challenge)
    return [(message, each) for each in possession.signatures]


def nonces(key: PublicKey, signatures: Iterable[Signed]) -> frozenset[bytes]:
    """The r of each ECDSA signature, 32 bytes; none for RSA. The signatures must have verified.

    PROOF_INVALID for an r twice, unless message and signature are the same bytes (a deterministic signer, RFC 6979).
    """
    if key.key_type is not KeyType.EC_P256:
        return frozenset()
    seen: dict[int, Signed] = {}
    for signed in signatures:
        if seen.setdefault(decode_dss_signature(signed[1])[0], signed) != signed:
            raise RefusedError(Code.PROOF_INVALID, "two different signatures share r: the device's key is exposed")
    return frozenset(r.to_bytes(_SCALAR_BYTES) for r in seen)


def _require_order(order: WorkOrder, envelope: Envelope, pin: PinStatement) -> None:
    if envelope.signatures or pin.order_signed:  # no root names approvers yet, so no approval can be checked
        raise RefusedError(Code.ORDER_REFUSES, "a signed order cannot be verified yet: 'demo' takes unsigned ones")
    if order.environment != "demo":
        raise RefusedError(Code.ORDER_REFUSES, "an unsigned order is taken in 'demo' only: have it approved")
    fault = _order_fault(order)
    if fault is not None:
        raise RefusedError(Code.ORDER_REFUSES, fault)
    if pin.order_sha256 != envelope.payload_sha256:
        raise RefusedError(Code.ORDER_REFUSES, "the pin statement was made under another order than the one sent")


@lru_cache(maxsize=_KNOWN_ORDERS)
def _parsed_order(envelope: Envelope) -> WorkOrder:
    return parsed(envelope, WorkOrder)


@lru_cache(maxsize=_KNOWN_ORDERS)
def _order_fault(order: WorkOrder) -> str | None:
    """Why the order makes no sense in itself; None if it does."""
    try:
        orders.check(order)
    except OrderError as error:
        return str(error)
    return None


def _key(pin: PinStatement) -> PublicKey:
    try:
        key = PublicKey.from_der(pin.spki)
    except PublicKeyError as error:
        raise RefusedError(Code.STATEMENT_INVALID, f"device key: {error}") from error
    if key.fingerprint != pin.fingerprint:
        raise RefusedError(Code.STATEMENT_INVALID, "the fingerprint is not that of the device key")
    if key.key_type.value != pin.key_type:
        raise RefusedError(Code.STATEMENT_INVALID, f"the device key is {key.key_type.value}, not {pin.key_type}")
    return key
