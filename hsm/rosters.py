"""Rosters in the cloud role: who may sign in at stations, each newer than the last. Never looks at who is in it.

Whether somebody belongs there is the registry's to say: a signer sees random ids.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hsm.documents import sign_document
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.roster import AHEAD, Roster, is_ahead, require_sense
from trust.statement import StatementError, moment

_KIND = "roster"


def sign_roster(signatory: Signatory, roster: Roster) -> Envelope:
    """The roster, signed: of this registry, under a recent root, never older than the last one signed."""
    signatory.require_here(roster, "roster")
    if roster.registry != signatory.name:
        text = f"roster of registry {roster.registry!r}: this signer is {signatory.name!r}'s"
        raise SignerError(Code.NOT_AUTHORISED, text)
    if signatory.trusted.root.roster_key is None:
        raise SignerError(Code.NOT_AUTHORISED, "the trust root names no roster key")
    try:
        require_sense(roster)
        made_at = moment(roster.made_at)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error

    # Its own clock, and no time that it was told: a lease of a wrong clock makes no room for rosters of that clock.
    now = datetime.fromtimestamp(signatory.clock(), UTC)
    if is_ahead(roster, now):
        text = f"the roster is of {roster.made_at}, this signer's clock says {now:%Y-%m-%dT%H:%M:%SZ}"
        text = f"{text}: more than {AHEAD.seconds // 60} minutes ahead; correct the clock that is wrong"
        raise SignerError(Code.STATEMENT_INVALID, text)

    def remember(payload_sha256: str) -> None:
        if not signatory.trusted.is_recent(roster.root_sha256):
            have = signatory.trusted.sha256[:16]
            text = f"roster under trust root {roster.root_sha256[:16]}…, this signer has {have}…"
            raise SignerError(Code.WRONG_ROOT, f"{text}: a new roster is under it, or under the one before")
        _require_newer(signatory, roster, payload_sha256, now)
        signatory.see_time(made_at, "the roster")

    return sign_document(signatory, Purpose.ROSTER, roster, remember)


def _require_newer(signatory: Signatory, roster: Roster, payload_sha256: str, now: datetime) -> None:
    """A station keeps the newest and takes no older one: whoever signs one for an old list would bring people back.

    One that was signed while this clock was ahead, too, has a number to go on from, and a time that says nothing.
    """
    found = signatory.counters.documents.last_payload(_KIND, but=payload_sha256)
    if found is None:
        return
    last = msgspec.json.decode(found, type=Roster)
    if roster.serial > last.serial and (is_ahead(last, now) or moment(roster.made_at) >= moment(last.made_at)):
        return
    text = f"roster {roster.serial} of {roster.made_at}: number {last.serial} of {last.made_at} is signed already"
    raise SignerError(Code.ROSTER_CONFLICT, f"{text}; correct the registry's clock, or restore its newest database")
