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


def first_line(error: DBAPIError) -> str:
    """What the database itself said, on one line."""
    return next(iter(str(error.orig).splitlines()), "no reason given")
