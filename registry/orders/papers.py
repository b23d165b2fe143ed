"""The papers of an order: its envelope as it first came, and each later one with other approvals. Kept, never changed.

A pin that names its order by hash is judged by the newest envelope that the trust root admits *now*: an approver who
has left approves nothing any more, and whoever has approved in his place does. Never judges a statement.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, insert, select, text

from registry.tables import order_approvals, orders
from trust.dsse import Envelope
from trust.order_approval import OrderRefusedError, admitted
from trust.root import TrustedRoot

_REMEMBERED = 32  # orders of at most 65,535 bytes each
# One statement for both databases: SQLite's trigger refuses what is there already, PostgreSQL's other transactions may
# store the same order between our look and our insert.
_KEEP_ORDER = text(
    "INSERT INTO orders (order_sha256, order_id, envelope) SELECT CAST(:sha256 AS TEXT), CAST(:id AS TEXT), :envelope "
    "WHERE NOT EXISTS (SELECT 1 FROM orders WHERE order_sha256 = :sha256) ON CONFLICT DO NOTHING"
)
_FIRST = select(orders.c.envelope)
_LATER = select(order_approvals.c.envelope).order_by(
    order_approvals.c.taken_at.desc(), order_approvals.c.envelope_sha256
)


class Papers:
    """What this process has seen in the database need not be offered to it with every pin."""

    def __init__(self, trusted: TrustedRoot) -> None:
        self._trusted = trusted
        self._seen: frozenset[Envelope] = frozenset()

    def keep(self, connection: Connection, order_id: str, envelope: Envelope, at: str) -> None:
        """Keep an admitted order; one whose approvals are others than those that are kept, beside them."""
        if envelope in self._seen:
            return
        sha256, data = envelope.payload_sha256, envelope.to_json()
        values = {"sha256": sha256, "id": order_id, "envelope": data}
        if connection.execute(_KEEP_ORDER, values).rowcount == 0 and first(connection, sha256) != data:
            _keep_approvals(connection, sha256, data, at)

    def seen(self, envelope: Envelope) -> None:
        """It was committed: never said before that."""
        if envelope not in self._seen:
            kept = self._seen if len(self._seen) < _REMEMBERED else frozenset()
            self._seen = kept | {envelope}  # one assignment: threads may lose an entry, and offer it once more

    def admissible(self, connection: Connection, order_sha256: str) -> Envelope | None:
        """The newest envelope of the order that may be worked under; the newest of all if none may; None if unknown."""
        later = connection.execute(_LATER.where(order_approvals.c.order_sha256 == order_sha256)).scalars()
        kept = [Envelope.from_json(each) for each in (*later, first(connection, order_sha256)) if each is not None]
        return next((each for each in kept if _admitted(each, self._trusted)), kept[0] if kept else None)


def first(connection: Connection, order_sha256: str) -> bytes | None:
    """The envelope that came first, as JSON; None for an order that nothing was pinned under."""
    return connection.execute(_FIRST.where(orders.c.order_sha256 == order_sha256)).scalar_one_or_none()


def _admitted(envelope: Envelope, trusted: TrustedRoot) -> bool:
    try:
        admitted(envelope, trusted)
    except OrderRefusedError:
        return False
    return True


def _keep_approvals(connection: Connection, order_sha256: str, data: bytes, at: str) -> None:
    envelope_sha256 = hashlib.sha256(data).hexdigest()
    there = select(order_approvals.c.envelope_sha256).where(order_approvals.c.envelope_sha256 == envelope_sha256)
    if connection.execute(there).first() is None:
        row = {"envelope_sha256": envelope_sha256, "order_sha256": order_sha256, "envelope": data, "taken_at": at}
        connection.execute(insert(order_approvals), row)
