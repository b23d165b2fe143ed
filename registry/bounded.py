"""A connection to PostgreSQL whose every wait for the server ends. Never asks again, and never cancels anything.

The server's own time-outs do not end everything: a commit waits for a standby that hangs for as long as that takes, and
a server whose processes stand still ends nothing. Whoever waited is told that the outcome is not known. Cancelling a
commit's wait would make the server acknowledge what its standby has not.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

T = TypeVar("T")
ANSWER_S = 8.0  # more than a statement may take there, less than a station waits for us (`station.config`)


class NoAnswerError(psycopg.OperationalError):
    """The server has not answered in time: what was asked may have happened, or happen yet."""


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's connection; one that was not answered in time is closed."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's, for ANSWER_S at most; then NoAnswerError. The server's end of it may live on until it wakes."""
        try:
            return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001 - what psycopg's `wait` says it raises; it has no other name
            self.pgconn.finish()
            raise NoAnswerError(f"the server has not answered for {ANSWER_S:g} s") from error


def connect(*arguments: Any, **options: Any) -> BoundedConnection:
    """A connection, as psycopg makes it; `connect_timeout` bounds that."""
    return BoundedConnection.connect(*arguments, **options)
