"""What a pin statement and a completion must satisfy before the registry stores them: pure, every rule by value.

In the order that docs/statements.md gives; the first rule that fails names the refusal. Never looks at what is stored
but for the values handed in, and never counts: the order's quantity is the signer's to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from registry.errors import RefusedError
from trust import order as orders
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.order_approval import OrderRefusedError, admitted
from trust.root import RootError, TrustedRoot
from trust.signed import device_key, nonce_problem, nonces, possession_problem, proof_signed, signed_in
from trust.statement import Completion, PinStatement, Possession, Statement, StatementError, read

S = TypeVar("S", PinStatement, WorkOrder, Completion)
_KNOWN_ORDERS = 16  # of at most 65,535 bytes each


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
    _require_order(order, order_envelope, pin, trusted)
    require_signature(envelope, trusted.root.pin_key, pin.station, "pin statement")
    require_device(device, pin.device_id)
    key = _key(pin)
    require_possession(key, device, pin.possession)
    if pin.vetting.verdict != "ok":
        raise RefusedError(Code.KEY_WEAK, f"vetting says {pin.vetting.verdict!r}: only 'ok' is pinned")
    require_permitted(orders.permits(order, order_envelope.payload_sha256, pin))
    return CheckedPin(
        device=device, statement=pin, envelope=envelope, order=order, order_envelope=order_envelope, key=key,
        nonces=frozenset(nonces(signed_in(pin))),
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
    if not trusted.knows(statement.root_sha256):
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


def require_possession(key: PublicKey, device: DeviceId, proof: Possession) -> None:
    """Both signatures prove that this device holds the key, with nonces that give nothing away."""
    wrong = possession_problem(key, device, "pin", proof) or nonce_problem(proof_signed(device, proof))
    if wrong is not None:
        raise RefusedError(Code.PROOF_INVALID, wrong)


def require_permitted(reason: str | None) -> None:
    """`trust.order.permits` found no reason against the statement."""
    if reason is not None:
        raise RefusedError(Code.ORDER_REFUSES, f"the order does not permit this: {reason}")


def _require_order(order: WorkOrder, envelope: Envelope, pin: PinStatement, trusted: TrustedRoot) -> None:
    refused = _order_refusal(envelope, trusted)
    if refused is not None:
        raise RefusedError(*refused)
    if pin.order_signed != bool(envelope.signatures):
        raise RefusedError(Code.ORDER_REFUSES, f"the statement says order_signed is {pin.order_signed}: it is not so")
    if pin.order_sha256 != envelope.payload_sha256:
        raise RefusedError(Code.ORDER_REFUSES, "the pin statement was made under another order than the one sent")
    if order.order_id != pin.order_id:
        raise RefusedError(Code.ORDER_REFUSES, "the pin statement names another order id than the order sent")


@lru_cache(maxsize=_KNOWN_ORDERS)
def _parsed_order(envelope: Envelope) -> WorkOrder:
    return parsed(envelope, WorkOrder)


@lru_cache(maxsize=_KNOWN_ORDERS)
def _order_refusal(envelope: Envelope, trusted: TrustedRoot) -> tuple[Code, str] | None:
    """Why nothing may be made under the order; None if it may."""
    try:
        admitted(envelope, trusted)
    except OrderRefusedError as error:
        # What makes no sense in itself is, for who sends a pin statement, an order that does not permit it.
        code = Code.ORDER_REFUSES if error.code is Code.STATEMENT_INVALID else error.code
        return code, str(error)
    return None


def _key(pin: PinStatement) -> PublicKey:
    try:
        return device_key(pin)
    except PublicKeyError as error:
        raise RefusedError(Code.STATEMENT_INVALID, f"device key: {error}") from error
