"""Soft lockout: how many tries to sign in are evaluated, kept in the database so that all processes count together.

Two allowances a user (docs/decisions/0027). Places that the user has signed in from before, an address or a device's
own token, have one each; everybody else shares one. An outsider uses up the shared one, and the person still gets in
from where he always does. A try is counted before it is evaluated, by compare-and-set: no burst gets through. A sign-in
that succeeds clears the counts. Never looks at a password.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from registry.access.denied import DeniedError
from registry.database import Database
from registry.tables import tries
from trust.codes import Code

STRANGERS: Final = ""
FREE: Final = 5  # tries before one must wait
STRANGERS_MOST, KNOWN_MOST, KNOWN_PLACES = 50, 10, 5  # 50 + 5 x 10: never more than 100 in a row (SP 800-63B-4 §3.2.2)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30, 3_600
SLOWEST: Final = 12  # from so many on, one an hour
_FOR_GOOD_S: Final = 86_400  # what Retry-After says where only a sign-in elsewhere, or an administrator, helps
SHADOWS_MOST: Final = 20_000  # rows of ids that are nobody's; those that were first tried longest ago go
_NOBODY, _AFTER = "nobody-", "nobody."  # users' ids are hex digits
_AGAIN: Final = 8
_TOO_MANY: Final = 429
_IPV6_SITE: Final = 64


@dataclass(frozen=True, slots=True)
class Try:
    """One try: of which subject, from which of its places. Once begun it counts as failed until it has succeeded."""

    subject: str
    origin: str


def place_of(user_id: str, address: str) -> str:
    """The hash by which an address is remembered; of IPv6 the network, as its hosts change their addresses."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return _hashed(user_id, f"address {address}")
    if found.version == 4:  # noqa: PLR2004 - IP's
        return _hashed(user_id, f"address {found}")
    return _hashed(user_id, f"address {ipaddress.ip_network((found, _IPV6_SITE), strict=False)}")


def device_of(user_id: str, device: str) -> str:
    """The hash by which a device's own token is remembered."""
    return _hashed(user_id, f"device {device}")


def shadow_of(user_id: str) -> str:
    """The subject of an id that is nobody's: its own, so that it is answered as a person's is."""
    return f"{_NOBODY}{_hashed('', user_id)}"


def sweep_shadows(connection: Connection, most: int = SHADOWS_MOST) -> int:
    """Leave so many rows of ids that are nobody's, and every row of a user; how many went."""
    theirs = (tries.c.subject >= _NOBODY) & (tries.c.subject < _AFTER)
    over = connection.execute(select(func.count()).where(theirs)).scalar_one() - most
    if over <= 0:
        return 0
    oldest = select(tries.c.subject).where(theirs).order_by(tries.c.seen, tries.c.subject).limit(over)
    return connection.execute(delete(tries).where(theirs, tries.c.subject.in_(oldest))).rowcount


def which(connection: Connection, user_id: str, places: tuple[str, ...]) -> str:
    """The first of these places that the user has signed in from; STRANGERS if none."""
    mine = (tries.c.subject == user_id) & tries.c.origin.in_(places)
    found = set(connection.scalars(select(tries.c.origin).where(mine)))
    return next((each for each in places if each in found), STRANGERS)


def require_may(connection: Connection, tried: Try, now_s: int) -> None:
    """Send away at once what may not be evaluated now: DeniedError (429, Retry-After). `begin` decides."""
    row = connection.execute(select(tries.c.failed, tries.c.not_before).where(_here(tried))).one_or_none()
    if row is not None and (waits := _waits(tried, row, now_s)):
        raise _too_many(waits)


def begin(database: Database, tried: Try, now_s: int) -> None:
    """Count a try; DeniedError (429, Retry-After) if it may not be evaluated."""
    for _ in range(_AGAIN):
        waits = _begun(database, tried, now_s)
        if waits == 0:
            return
        if waits is not None:
            raise _too_many(waits)
    raise _too_many(1)  # so many at the same moment: another one was counted each time


def _begun(database: Database, tried: Try, now_s: int) -> int | None:
    """0 if counted, else seconds to wait; None if another one was counted in between."""
    here = _here(tried)
    try:
        with database.write() as connection:
            row = connection.execute(select(tries.c.failed, tries.c.not_before).where(here)).one_or_none()
            if row is None:
                mine = {"subject": tried.subject, "origin": tried.origin}
                connection.execute(insert(tries), {**mine, "failed": 1, "not_before": 0, "seen": now_s})
                if tried.subject.startswith(_NOBODY):
                    sweep_shadows(connection)
                return 0
            if waits := _waits(tried, row, now_s):
                return waits
            unchanged = (tries.c.failed == row.failed) & (tries.c.not_before == row.not_before)
            more = {"failed": row.failed + 1, "not_before": now_s + wait_after(row.failed + 1)}
            counted = connection.execute(update(tries).where(here, unchanged).values(**more))
            return 0 if counted.rowcount == 1 else None
    except IntegrityError:  # the first one of this row, twice at once
        return None


def _here(tried: Try) -> ColumnElement[bool]:
    return (tries.c.subject == tried.subject) & (tries.c.origin == tried.origin)


def _waits(tried: Try, row: Row[Any, Any], now_s: int) -> int:
    """Seconds before one more may be; 0 for now."""
    if row.failed >= (STRANGERS_MOST if tried.origin == STRANGERS else KNOWN_MOST):
        return _FOR_GOOD_S
    return max(0, int(row.not_before) - now_s)


def wait_after(failed: int) -> int:
    """Seconds before the next try: none at first, then doubling."""
    return 0 if failed < FREE else min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failed - FREE, 16))


def succeeded(connection: Connection, tried: Try, places: tuple[str, ...], now_s: int) -> None:
    """Clear the counts of known places, and remember these; the ones used longest ago are forgotten.

    Strangers get their number of tries back, and none sooner than before: else whoever guesses would gain a handful at
    once each time that the person signs in.
    """
    subject = tried.subject
    for origin in places:
        here = (tries.c.subject == subject) & (tries.c.origin == origin)
        fresh = {"failed": 0, "not_before": 0, "seen": now_s}
        if connection.execute(update(tries).where(here).values(**fresh)).rowcount == 0:
            connection.execute(insert(tries), {"subject": subject, "origin": origin, **fresh})
    strangers = (tries.c.subject == subject) & (tries.c.origin == STRANGERS)
    if tried.origin == STRANGERS:  # this one has not failed
        connection.execute(update(tries).where(strangers, tries.c.failed > 0).values(failed=tries.c.failed - 1))
    connection.execute(update(tries).where(strangers, tries.c.failed > SLOWEST).values(failed=SLOWEST))
    known = (tries.c.subject == subject) & (tries.c.origin != STRANGERS)
    connection.execute(update(tries).where(known).values(failed=0, not_before=0))
    kept = connection.scalars(
        select(tries.c.origin).where(known).order_by(tries.c.seen.desc(), tries.c.origin).limit(KNOWN_PLACES)
    ).all()
    connection.execute(delete(tries).where(known, tries.c.origin.not_in(kept)))


def lift(connection: Connection, subject: str) -> None:
    """All counts of this subject: an administrator says so. Its places stay known."""
    connection.execute(update(tries).where(tries.c.subject == subject).values(failed=0, not_before=0))


def forget(connection: Connection, subject: str) -> None:
    """Everything about this subject: its credentials were made anew, and who had them before is nobody known."""
    connection.execute(delete(tries).where(tries.c.subject == subject))


def _too_many(seconds: int) -> DeniedError:
    text = (
        "too many tries: nothing was tried. Wait, sign in from where you did before, or have an administrator enable "
        "this user again"
    )
    return DeniedError(_TOO_MANY, Code.TOO_MANY_TRIES, text, (("retry-after", str(seconds)),))


def _hashed(user_id: str, what: str) -> str:
    return hmac.digest(user_id.encode(), what.encode(), hashlib.sha256).hex()
