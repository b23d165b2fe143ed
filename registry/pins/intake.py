"""What one transaction does for pins and for completions: rows, the order's papers, and the two counts that may say no.

One or many alike. Unique constraints decide what is taken, `UPDATE … WHERE` what is too much; rows are written in one
order, so that transactions wait for each other in one direction. Never commits and never looks at what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection

from registry.errors import RefusedError
from registry.leases.store import count_pin, count_without_lease
from registry.orders import counts
from registry.orders.counts import Share
from registry.orders.papers import Papers
from registry.pins import store
from registry.pins.checks import CheckedPin
from registry.pins.closing import CheckedCompletion
from registry.pins.store import Stored, StoredPin
from trust.codes import Code
from trust.root import TrustedRoot


class Intake:
    """Inserts into the caller's transaction, which must be rolled back when anything is raised."""

    def __init__(self, trusted: TrustedRoot) -> None:
        self._leased = trusted.root.lease_key is not None
        self.papers = Papers(trusted)

    def pins(self, connection: Connection, checked: Sequence[CheckedPin], at: str) -> list[StoredPin]:
        """The pins as they will be once committed.

        IntegrityError if any part is taken; RefusedError when a station's allotment or lease has no room for them.
        """
        for envelope, order in {each.order_envelope: each.order for each in checked}.items():
            self.papers.keep(connection, order.order_id, envelope, at)
        stored = store.insert_pins(connection, checked, at)
        shares = Counter(Share.of(each.order, each.statement.order_sha256, each.statement.station) for each in checked)
        for share, units in sorted(shares.items(), key=_place):
            if not counts.take_pins(connection, share, units):
                raise _exhausted(share, "quantity and allowance", "are pinned")
        for station, units in sorted(Counter(each.statement.station for each in checked).items()):
            if not self._leased:
                count_without_lease(connection, station, units)
            elif not count_pin(connection, station, at, units):
                text = f"station {station} has no lease, or as many pins as its leases allow: renew its signer's lease"
                raise RefusedError(Code.LEASE_EXCEEDED, f"{text}; if that is refused, there are two of its signer")
        return stored

    def completions(self, connection: Connection, checked: Sequence[CheckedCompletion], at: str) -> list[Stored]:
        """The completions as they will be once committed; raises as `pins` does."""
        stored = store.insert_completions(connection, checked, at)
        shares = Counter(Share.of(each.order, each.statement.order_sha256, each.statement.station) for each in checked)
        for share, units in sorted(shares.items(), key=_place):
            if not counts.take_completions(connection, share, units):
                raise _exhausted(share, "quantity", "are completed")
        return stored


def _place(counted: tuple[Share, int]) -> tuple[str, str]:
    return counted[0].order_sha256, counted[0].station


def _exhausted(share: Share, what: str, done: str) -> RefusedError:
    numbers = f"{share.part.quantity} and {share.part.allowance}" if "allowance" in what else f"{share.part.quantity}"
    text = f"order {share.order_id}: as many units of station {share.station} as its {what} allow ({numbers})"
    text = f"{text} {done}: start the next order; if its signer has made fewer, there are two of it"
    return RefusedError(Code.ORDER_EXHAUSTED, text)
