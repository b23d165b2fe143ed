"""What it means that the database failed a transaction: done over, or *the store failed*. Never what was refused.

A unique constraint's refusal is an answer and no failure. Of failures only those pass that say nothing of what was
asked: the server rolled the transaction back for another's sake (serialization, deadlock), or the connection went.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from registry.bounded import NoAnswerError

_ROLLED_BACK = frozenset({"40001", "40P01"})  # serialization failure, deadlock (PostgreSQL, appendix A)
_GOING_OR_COMING = frozenset({"57P01", "57P02", "57P03"})  # shut down, crashed beside us, starting up
_CONNECTION = "08"  # the class of connection failures
_FULL = frozenset({"53100", "53200", "54000"})  # disk, memory
_NO_RIGHT = frozenset({"42501"})
_NO_TABLE = frozenset({"42P01", "42703", "3F000"})  # no such table, column or schema
_LOOK = "if something was to be changed, look first whether it was"
_BUSY = frozenset({"55P03", "57014", "25P03"})  # lock not had in time; statement or transaction took too long
_PAUSES_S = (0.05, 0.2, 0.5)  # a server that starts again after a crash is back in about so long


class DatabaseError(Exception):
    """The database cannot be used as it is; the text says what to do."""


class NotReplicatedError(Exception):
    """The server has committed and no longer waits for its standby: whether a failover loses it is not known.

    Not done over: what was committed is there, and doing it over would find that and acknowledge it.
    """


STORE_FAILED = (DBAPIError, PoolTimeoutError, DatabaseError, NotReplicatedError)
"""What the registry answers with 503 store-failed: the same request again is right, later."""


def passes(error: Exception) -> bool:
    """Whether the same transaction may well succeed in a moment.

    Of a connection that went at the commit nobody knows the outcome: whoever does it over must be one whom a unique
    constraint tells that it was done before.
    """
    if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
        return False
    if isinstance(error.orig, NoAnswerError):  # who waited once for nothing is told so, and does not wait again
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state in _ROLLED_BACK | _GOING_OR_COMING or state.startswith(_CONNECTION)


def pauses() -> Iterator[float]:
    """How long to wait (s) before each further try; jittered, so that two that met do not meet again."""
    for each in _PAUSES_S:
        yield each * random.uniform(0.5, 1.5)  # noqa: S311 - no secret


def told(error: Exception) -> str:
    """What has failed and what to do next, in one line without any value of a row: for the console."""
    if isinstance(error, PoolTimeoutError):
        return "all connections to the database are taken, and none became free: try again"
    if not isinstance(error, DBAPIError):
        return str(error)
    return f"{_remedy(error)[0]} ({first_line(error)}): {_remedy(error)[1]}"


def is_refused(error: DBAPIError) -> bool:
    """Whether the database's role lacks the right to do it."""
    return getattr(error.orig, "sqlstate", None) in _NO_RIGHT


def _remedy(error: DBAPIError) -> tuple[str, str]:
    """What it is, and what to do."""
    state, said = getattr(error.orig, "sqlstate", None) or "", str(error.orig)
    gone = error.connection_invalidated or state[:2] in {"", _CONNECTION} or state in _GOING_OR_COMING
    rules = (
        (
            state in _NO_RIGHT,
            "the database role may not do this",
            "have the role that owns the tables grant it: station-registry migrate --dir DIR --owner URL",
        ),
        (
            state in _NO_TABLE or "no such table" in said,
            "the database has not this version's tables",
            "make a backup, then run station-registry migrate --dir DIR",
        ),
        (
            state in _BUSY or "is locked" in said,
            "something else keeps the database busy",
            "try again, or end what keeps it; a migration wants every registry stopped",
        ),
        (
            "malformed" in said or "not a database" in said,
            "the database is damaged",
            "stop, keep the file, restore the last backup",
        ),
        (state in _FULL or "disk is full" in said, "the database has no room left", "make room, then try again"),
        (
            "readonly database" in said or "unable to open" in said,
            "the database's file cannot be used",
            "run this as the registry's user, and let it write in the directory",
        ),
        (gone, "the database cannot be reached", f"start its server, or correct `database`; {_LOOK}"),
    )
    known = ((what, remedy) for holds, what, remedy in rules if holds)
    return next(known, ("the database failed", f"its server's log says more; {_LOOK}"))


def first_line(error: DBAPIError) -> str:
    """What the database itself said, on one line."""
    return next(iter(str(error.orig).splitlines()), "no reason given")
