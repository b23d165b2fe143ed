"""May this order be made known? Once, byte for byte, in its right form; it is then the signer's for ever.

Never judges a statement: `trust.order.permits` does.
"""

from __future__ import annotations

from hsm.orders import order_body
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import order as orders
from trust.codes import Code
from trust.dsse import MAX_ENVELOPE_BYTES, Envelope
from trust.order import OrderError


def import_order(signatory: Signatory, envelope: Envelope) -> None:
    """Make an order known; the same bytes again change nothing."""
    body = order_body(envelope)
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
