"""What the registry says of an order's numbers, and who may raise them: officers, by an act that they have approved.

The signer performs the same act for itself; here it raises what the registry takes of that station. Each act counts
once, whoever brings it. Never lowers a number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from registry.clock import stamp, utc_now
from registry.database import Database, assure
from registry.errors import RefusedError
from registry.orders import counts, papers
from registry.orders.counts import Counted, Share
from registry.tables import order_raises
from trust import act as acts
from trust.act import Act, ActRefusedError
from trust.approval import ApprovalError, approvals, require_officers
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.order_approval import body
from trust.root import Root, TrustedRoot
from trust.statement import moment

_log = logging.getLogger(__name__)
LATE: Final = timedelta(days=31)  # a station brings an act when its order is used up here, or has a way here again
_SKEW: Final = timedelta(minutes=5)


class OrderService:
    """The registry's books of orders. Safe to call from many threads."""

    def __init__(self, database: Database, trusted: TrustedRoot, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self.trusted = trusted
        self._now = now

    def find(self, order_sha256: str) -> WorkOrder:
        """The order; ORDER_UNKNOWN if nothing was ever pinned under it."""
        with self._database.read() as connection:
            paper = papers.first(connection, order_sha256)
        if paper is None:
            raise _unknown(order_sha256)
        return body(Envelope.from_json(paper))

    def counted(self, order_sha256: str) -> tuple[Counted, ...]:
        """What is counted of the order, by station; none of a station that has pinned nothing."""
        with self._database.read() as connection:
            return counts.counted(connection, order_sha256)

    def approved(self, envelope: Envelope) -> Act:
        """The act, if it may raise an allowance now; RefusedError (`approved_raise`)."""
        return approved_raise(envelope, self.trusted, self._now())

    def raise_limit(self, act: Act, envelope: Envelope) -> tuple[Counted, ...]:
        """Take an act from `approved`; the same act again changes nothing. RefusedError."""
        try:
            self._database.writing(lambda connection: self._raise(connection, act, envelope))
        except IntegrityError:  # another process has taken this very act just now
            _log.info("an act is taken already")
            self._database.assure()
        return self.counted(act.order_sha256)

    def _raise(self, connection: Connection, act: Act, envelope: Envelope) -> None:
        paper = papers.first(connection, act.order_sha256)
        if paper is None:
            raise _unknown(act.order_sha256)
        if self._take(connection, act, envelope):
            order = body(Envelope.from_json(paper))
            counts.raise_limit(connection, Share.of(order, act.order_sha256, act.signer), act.units)

    def _take(self, connection: Connection, act: Act, envelope: Envelope) -> bool:
        sha256 = envelope.payload_sha256
        there = select(order_raises.c.act_sha256).where(order_raises.c.act_sha256 == sha256)
        if connection.execute(there).first() is not None:
            assure(connection)
            return False
        row = {
            "act_sha256": sha256, "order_sha256": act.order_sha256, "station": act.signer, "units": act.units,
            "envelope": envelope.to_json(), "taken_at": stamp(self._now()),
        }  # fmt: skip
        connection.execute(insert(order_raises), row)
        return True


def approved_raise(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> Act:
    """The act, if it may raise an allowance now: by officers whom the newest root still names; RefusedError.

    A station without a way here for days brings what its signer did in time: so it is taken for `LATE` after its end.
    """
    act = raise_on_record(envelope, trusted, now)
    _require_officers(envelope, trusted.root, "of the newest trust root, the act is approved by")
    return act


def raise_on_record(envelope: Envelope, trusted: TrustedRoot, at: datetime) -> Act:
    """The act, if it could be taken at that time by officers of the version of the root that it names; RefusedError."""
    try:
        act = acts.body(envelope)
    except ActRefusedError as error:
        raise RefusedError(error.code, str(error)) from error
    if act.kind != "raise-allowance":
        raise RefusedError(Code.NOT_AUTHORISED, f"act {act.kind} is the signer's alone: bring it raise-allowance only")
    if act.environment != trusted.root.environment:
        raise RefusedError(Code.WRONG_ENVIRONMENT, f"the act is of environment {act.environment!r}")
    if not trusted.knows(act.root_sha256):
        raise RefusedError(Code.WRONG_ROOT, "the act names no version of this registry's trust root")
    _require_time(act, at)
    _require_officers(envelope, trusted.at(act.root_sha256), "of the trust root that it names, the act is approved by")
    return act


def _require_time(act: Act, at: datetime) -> None:
    if at > moment(act.not_after) + LATE:
        text = f"the act was good until {act.not_after}, and is taken here for {LATE.days} days after that"
        raise RefusedError(Code.ACT_EXPIRED, f"{text}: have another one made and approved")
    if moment(act.made_at) - at > _SKEW:
        raise RefusedError(Code.ACT_EXPIRED, f"the act is good from {act.made_at}: is the registry's clock right?")


def _require_officers(envelope: Envelope, root: Root, whose: str) -> None:
    try:
        given = approvals(envelope, root.approvers)
        require_officers(given, at_least=root.thresholds.act, whose=whose)
    except ApprovalError as error:
        text = f"{error}: have another act made, and approved by officers of today"
        raise RefusedError(Code.ACT_NOT_APPROVED, text) from error


def _unknown(order_sha256: str) -> RefusedError:
    text = f"no order {order_sha256[:16]}… is known here: one becomes known by the first pin under it"
    return RefusedError(Code.ORDER_UNKNOWN, text)
