"""The newest trust root that this registry has taken up, kept in its database: it never goes back to an older one.

Which keys are trusted is the root's own; here is only which of its versions was seen.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from registry.clock import stamp, utc_now
from registry.database import Database, Turn, assure, take_turn
from registry.settings import SetupError
from registry.tables import roots
from trust.root import RootError, Seen, TrustedRoot, must_follow


def take_up(database: Database, trusted: TrustedRoot) -> None:
    """Remember a root that is newer than the newest seen; SetupError for an older one, or another's."""
    database.writing(lambda connection: _take_up(connection, trusted))


def require_newest(database: Database, trusted: TrustedRoot) -> None:
    """SetupError for a root that is older than the newest taken up, or another's; remembers nothing."""
    with database.read() as connection:
        _newer(connection, trusted)


def _newer(connection: Connection, trusted: TrustedRoot) -> bool:
    row = connection.execute(
        select(roots.c.version, roots.c.sha256).order_by(roots.c.version.desc()).limit(1)
    ).one_or_none()
    try:
        return must_follow(trusted, None if row is None else Seen(row.version, row.sha256))
    except RootError as error:
        raise SetupError(str(error)) from error


def _take_up(connection: Connection, trusted: TrustedRoot) -> None:
    take_turn(connection, Turn.ROOTS)  # another process may start with another root at this moment
    if _newer(connection, trusted):
        newest = {"version": trusted.root.version, "sha256": trusted.sha256, "taken_up_at": stamp(utc_now())}
        connection.execute(insert(roots), newest)
    else:
        assure(connection)
