"""The signer's book of orders: the only one in the factory. Each is imported once, byte for byte, and never changed.

Whether an order permits a statement is `trust.order.permits`; whether one may be imported is `hsm.policy.order`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm.counters import Counters
from hsm.signer import SignerError
from trust import order as orders
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.order_approval import OrderRefusedError, admitted
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement

_AT_HAND = 64  # orders kept parsed: more than a station has open at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOrder:
    """An imported order that may be worked under: body, hash of its payload, and whether it carries approvals."""

    body: WorkOrder
    sha256: str
    signed: bool

    def require(self, statement: PinStatement | Completion) -> None:
        """Refuse what the order does not permit."""
        reason = orders.permits(self.body, self.sha256, statement)
        if reason is not None:
            raise SignerError(Code.ORDER_REFUSES, f"order {self.body.order_id}: {reason}")


class OrderBook:
    """Orders by id, those lately used parsed and at hand. As an order never changes, neither does what is at hand."""

    def __init__(self, counters: Counters, trusted: TrustedRoot) -> None:
        self._counters = counters
        self._trusted = trusted
        self._at_hand: dict[str, KnownOrder] = {}

    def at_hand(self, order_id: str) -> KnownOrder | None:
        """The order, if no disk is needed for it: for any thread."""
        return self._at_hand.get(order_id)

    def forget(self, order_id: str) -> None:
        """Its approvals have changed: read it again."""
        self._at_hand.pop(order_id, None)

    def find(self, order_id: str) -> KnownOrder:
        """An order that was imported and whose approvals hold; ORDER_UNKNOWN, or what is wrong with it, otherwise.

        For the thread that uses the counters. The root may be newer than the import: who approved may have left.
        """
        found = self._at_hand.get(order_id)
        if found is not None:
            return found
        data = self._counters.order(order_id)
        if data is None:
            raise SignerError(Code.ORDER_UNKNOWN, f"order {order_id!r} is not known to this signer: import it first")
        envelope = Envelope.from_json(data)
        try:
            body = admitted(envelope, self._trusted)
        except OrderRefusedError as error:
            raise SignerError(error.code, f"{error}; then import it again") from error
        known = KnownOrder(body=body, sha256=envelope.payload_sha256, signed=bool(envelope.signatures))
        if len(self._at_hand) >= _AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]
        self._at_hand[order_id] = known
        return known
