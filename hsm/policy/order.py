"""May this order be made known? Approved, for this station; its body is then the signer's for ever.

Only its approvals may be replaced, by others that hold: people come and go. Never judges a statement:
`trust.order.permits` does.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import WorkOrder, window_problem
from trust.order_approval import OrderRefusedError, admitted


def import_order(signatory: Signatory, envelope: Envelope) -> None:
    """Make an order known; the same bytes again change nothing."""
    try:
        order = admitted(envelope, signatory.trusted)
    except OrderRefusedError as error:
        raise SignerError(error.code, str(error)) from error
    what = f"order {order.order_id}"
    if signatory.name not in order.stations:
        raise SignerError(Code.ORDER_REFUSES, f"{what}: it does not name this station, {signatory.name!r}")
    known = signatory.counters.order(order.order_id)
    if known is None:
        _add(signatory, order, envelope)
        return
    before = Envelope.from_json(known)
    if not before.same_statement(envelope):
        text = f"{what} is known with other bytes: an order never changes, give the new one a new id"
        raise SignerError(Code.ORDER_CONFLICT, text)
    if before.signatures != envelope.signatures and envelope.signatures:  # `demo`: none is no better than some
        signatory.counters.approve_order(order.order_id, envelope.to_json())
        signatory.orders.forget(order.order_id)


def _add(signatory: Signatory, order: WorkOrder, envelope: Envelope) -> None:
    now = datetime.fromtimestamp(signatory.now(), UTC)
    ended = window_problem(order, now)
    if ended is not None and now > datetime.fromisoformat(order.not_after):
        raise SignerError(Code.ORDER_REFUSES, f"order {order.order_id}: {ended}")
    part = order.allotted(signatory.name)
    signatory.counters.add_order(
        order.order_id, envelope.to_json(), pins=part.quantity + part.allowance, completions=part.quantity
    )
