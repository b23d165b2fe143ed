"""Who signs in here, by the registry's roster: works while the registry is away. Asks nobody and keeps nothing.

What to do with somebody who signs in is the screen's. Slow on purpose (Argon2id): call it off the event loop. How often
somebody may try at a screen is the screen's to bound: a roster knows no tries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from trust import roster as rosters
from trust import verifier
from trust.roster import Person, Roster


@dataclass(frozen=True, slots=True)
class Badge:
    """What a reader says of a badge."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    """A user's id, as on a card or out of a list, and the password that is typed."""

    user: str
    text: str = field(repr=False)


def signed_in(roster: Roster, shown: Badge | Password, now: datetime) -> Person | None:
    """The person whose badge or password this is; None if it is nobody's, or the roster is over at this time (aware).

    A badge shows that somebody holds it, and nothing more: what asks for more asks for the password too.
    """
    if rosters.is_over(roster, now):
        return None
    try:
        return _by_badge(roster, shown.text) if isinstance(shown, Badge) else _by_password(roster, shown)
    except ValueError:  # longer than any secret is
        return None


def _by_badge(roster: Roster, text: str) -> Person | None:
    if not verifier.is_badge_salt(roster.badge_salt):
        return None
    found = verifier.badge_hash(text, roster.badge_salt)  # one evaluation, whoever it is
    return next((each for each in roster.people if each.badge == found), None)


def _by_password(roster: Roster, shown: Password) -> Person | None:
    for each in roster.people:
        if each.user == shown.user and each.verifier:
            return each if verifier.holds(each.verifier, verifier.normal(shown.text)) else None
    return None
