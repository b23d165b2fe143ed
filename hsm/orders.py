"""The signer's store of orders: the only one in the factory. Imported once, byte for byte, and never changed.

Whether an order permits a statement is `trust.order.permits`; here is only memory and the form of the order itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import order as orders
from trust.codes import Code
from trust.dsse import MAX_ENVELOPE_BYTES, Envelope
from trust.order import OrderError, WorkOrder
from trust.statement import Completion, PinStatement, StatementError, read


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An imported order: body, hash of its payload, and whether it carries approvals."""

    body: WorkOrder
    sha256: str
    signed: bool

    def require(self, statement: PinStatement | Completion) -> None:
        """Refuse what the order does not permit."""
        reason = orders.permits(self.body, self.sha256, statement)
        if reason is not None:
            raise SignerError(Code.ORDER_REFUSES, f"order {self.body.order_id}: {reason}")


def import_order(signatory: Signatory, envelope: Envelope) -> None:
    """Make an order known; the same bytes again change nothing."""
    body = _body(envelope)
    signatory.require_here(body, f"order {body.order_id}")
    try:
        orders.check(body)
    except OrderError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    if envelope.signatures:
        text = f"order {body.order_id}: the root names no approvers to check its signatures by: import it without"
        raise SignerError(Code.STATEMENT_INVALID, text)
    if body.environment != "demo":
        text = (
            f"order {body.order_id}: an order without approvals is taken in environment 'demo' only: have it approved"
        )
        raise SignerError(Code.STATEMENT_INVALID, text)
    counters, data = signatory.counters, envelope.to_json()
    if len(data) > MAX_ENVELOPE_BYTES:
        text = f"order {body.order_id}: envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} are taken"
        raise SignerError(Code.TOO_LARGE, text)
    added = counters.add_order(body.order_id, data, pins=body.quantity + body.allowance, completions=body.quantity)
    if not added and counters.order(body.order_id) != data:
        text = f"order {body.order_id} is known with other bytes: an order never changes, give the new one a new id"
        raise SignerError(Code.ORDER_CONFLICT, text)


def known(signatory: Signatory, order_id: str) -> KnownOrder:
    """An order that was imported; ORDER_UNKNOWN otherwise."""
    data = signatory.counters.order(order_id)
    if data is None:
        raise SignerError(Code.ORDER_UNKNOWN, f"order {order_id!r} is not known to this signer: import it first")
    envelope = Envelope.from_json(data)
    return KnownOrder(_body(envelope), envelope.payload_sha256, bool(envelope.signatures))


def _body(envelope: Envelope) -> WorkOrder:
    try:
        return read(envelope, WorkOrder)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
