"""The roster: who may sign in at a station, signed by the registry, so that it holds while the registry is away.

A person is a random id here, and nothing else is known of one. Pure; never signs anybody in (`station.roster`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.statement import Name, Statement, StatementError, Utc, moment, verify

Role = Literal["operator", "lead", "engineer", "support", "auditor", "administrator"]
FloorRole = Literal["operator", "lead", "engineer"]
ROLES: Final[tuple[Role, ...]] = ("operator", "lead", "engineer", "support", "auditor", "administrator")
FLOOR_ROLES: Final[tuple[FloorRole, ...]] = ("operator", "lead", "engineer")  # others' verifiers stay in the cloud
MAX_PEOPLE: Final = 200  # so many fit into an envelope, and into a frame of the signer's socket
LONGEST: Final = timedelta(days=31)
AHEAD: Final = timedelta(minutes=5)  # so far two clocks may be apart; beyond that one of them is wrong
_HASH = r"[A-Za-z0-9+/]{43}"
_HEAD = r"\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]?,p=[1-9][0-9]?\$[A-Za-z0-9+/]{22}"
UserHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
MaybeBadge = Annotated[str, msgspec.Meta(pattern=rf"\A({_HASH})?\Z")]
MaybeVerifier = Annotated[str, msgspec.Meta(pattern=rf"\A({_HEAD}\${_HASH})?\Z")]
BadgeSalt = Annotated[str, msgspec.Meta(pattern=rf"\A{_HEAD}\Z")]
Serial = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person: a random id, a role, and what shows that it is this one (`trust.verifier`). Empty: not that way."""

    user: UserHex
    role: FloorRole
    badge: MaybeBadge
    verifier: MaybeVerifier


class Roster(Statement, frozen=True, kw_only=True, tag="roster"):
    """These people may sign in at stations until `expires_at`, and nobody else.

    Signed by the registry's cloud-role signer (purpose *roster*). A later one has a higher `serial`, and replaces it.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.roster.v1+json"
    registry: Name
    serial: Serial
    badge_salt: BadgeSalt
    people: Annotated[tuple[Person, ...], msgspec.Meta(max_length=MAX_PEOPLE)]
    made_at: Utc
    expires_at: Utc


def issued(trusted: TrustedRoot, envelope: Envelope) -> Roster:
    """The roster, signed by the key that the root names now; StatementError says what is wrong. Not whether it is over.

    For who may let somebody in by it: a roster that another key signed before is no roster any more.
    """
    root, key = trusted.root, trusted.root.roster_key
    if key is None:
        raise StatementError("the trust root names no roster key: no roster is taken")
    roster = verify(envelope, Roster, key)
    if (roster.environment, roster.registry) != (root.environment, root.registry) or not trusted.knows(
        roster.root_sha256
    ):
        raise StatementError("the roster is of another environment, registry or trust root")
    require_sense(roster)
    return roster


def require_sense(roster: Roster) -> None:
    """Nobody twice, in order, and not for longer than a month; StatementError."""
    users = [each.user for each in roster.people]
    badges = [each.badge for each in roster.people if each.badge]
    if users != sorted(set(users)) or len(badges) != len(set(badges)):
        raise StatementError("the roster names a person or a badge twice, or not in order")
    if not timedelta() < moment(roster.expires_at) - moment(roster.made_at) <= LONGEST:
        text = f"the roster is from {roster.made_at} to {roster.expires_at}"
        raise StatementError(f"{text}: more than {LONGEST.days} days are not taken")


def is_over(roster: Roster, now: datetime) -> bool:
    """Whether nobody may sign in by it any more at this time."""
    return now >= moment(roster.expires_at)


def is_ahead(roster: Roster, now: datetime) -> bool:
    """Whether it was made after this time, by a clock that is wrong if this one is right."""
    return moment(roster.made_at) - now > AHEAD
