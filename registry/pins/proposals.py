"""Proposals: what somebody who is signed in, or a foreign tool, would like done about a device. They change nothing.

Approvers read them and sign an act, or do not. Kept for ever, as who proposed what is part of the story; so each device
takes so many in a month and no more, and of one proposer so many that nobody alone keeps others from proposing. Never
looks at pins.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, insert, select

from registry.clock import stamp, utc_now
from registry.database import Database, Turn, assure, take_turn
from registry.errors import RefusedError
from registry.tables import proposal_proofs, proposals
from trust.codes import Code
from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError
from trust.pin_act import PinActKind

_MOST: Final = 50
_EACH: Final = 10  # of one proposer: nobody alone fills it
_WITHIN: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Who (`proposer`, a user's or client's id) proposes what by which door (`source`), and when (UTC, RFC 3339)."""

    proposal: str
    device_id: str
    proposer: str
    source: str
    kind: PinActKind
    reason: str
    key: PublicKey | None
    proposed_at: str
    proved_at: str = ""
    """When the device showed by a handshake that it has this key; empty where it has not."""


class Proposals:
    """The registry's book of proposals. Safe to call from many threads."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def propose(
        self,
        device: DeviceId,
        kind: PinActKind,
        reason: str,
        *,
        proposer: str,
        source: str,
        spki: bytes | None,
        once: bool = False,
    ) -> Proposal:
        """Keep it. RefusedError for a key that is none, or a device of which too much was proposed lately.

        `once`: not again, if this proposer has proposed this key for it by this door lately.
        """
        now = self._now()
        made = Proposal(
            proposal=secrets.token_hex(16), device_id=str(device), proposer=proposer, source=source, kind=kind,
            reason=reason, key=_key(spki), proposed_at=stamp(now),
        )  # fmt: skip
        row = {
            "proposal": made.proposal, "device_id": made.device_id, "proposer": proposer, "source": source,
            "kind": kind, "reason": reason, "spki": None if made.key is None else made.key.spki,
            "fingerprint": None if made.key is None else made.key.fingerprint, "proposed_at": made.proposed_at,
        }  # fmt: skip
        with self._database.write() as connection:
            take_turn(connection, Turn.PROPOSE)  # no constraint counts: two that look at once would both find room
            if once and any(_same(each, made) for each in _about(connection, device)):
                assure(connection)
                return made
            _require_room(connection, made, since=stamp(now - _WITHIN))
            connection.execute(insert(proposals), row)
        return made

    def about(self, device: DeviceId) -> tuple[Proposal, ...]:
        """The newest ones, newest first."""
        with self._database.read() as connection:
            return _about(connection, device)


def _about(connection: Connection, device: DeviceId) -> tuple[Proposal, ...]:
    proved = proposals.outerjoin(
        proposal_proofs,
        (proposals.c.device_id == proposal_proofs.c.device_id)
        & (proposals.c.fingerprint == proposal_proofs.c.fingerprint),
    )
    query = (
        select(proposals, proposal_proofs.c.proved_at)
        .select_from(proved)
        .where(proposals.c.device_id == str(device))
        .order_by(proposals.c.proposed_at.desc(), proposals.c.proposal)
        .limit(_MOST)
    )
    return tuple(
        Proposal(
            proposal=row["proposal"], device_id=row["device_id"], proposer=row["proposer"], source=row["source"],
            kind=row["kind"], reason=row["reason"], key=_key(row["spki"]), proposed_at=row["proposed_at"],
            proved_at=row["proved_at"] or "",
        )
        for row in connection.execute(query).mappings().all()
    )  # fmt: skip


def _same(one: Proposal, other: Proposal) -> bool:
    mine, yours = ((each.source, each.proposer, each.kind, each.key) for each in (one, other))
    return mine == yours


def _require_room(connection: Connection, made: Proposal, *, since: str) -> None:
    lately = (proposals.c.device_id == made.device_id) & (proposals.c.proposed_at > since)
    mine = func.count().filter(proposals.c.proposer == made.proposer)
    whole, own = connection.execute(select(func.count(), mine).where(lately)).one()
    if own >= _EACH or whole >= _MOST:
        said = f"{own} by {made.proposer}" if own >= _EACH else f"{whole}"
        text = f"{said} proposals about this device in {_WITHIN.days} days: wait, or talk to its approvers"
        raise RefusedError(Code.TOO_MANY_REQUESTS, text)


def _key(spki: bytes | None) -> PublicKey | None:
    try:
        return None if spki is None else PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise RefusedError(Code.STATEMENT_INVALID, f"new key: {error}") from error
