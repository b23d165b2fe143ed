"""The secret of a day, the same one in every process: whoever needs it first makes it, and the database decides.

Kept in memory once read, so that a nonce costs no question to the database. Never leaves the process but as an HMAC.
"""

from __future__ import annotations

import secrets
import threading

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from registry.database import Database
from registry.tables import nonce_secrets

_SECRET_BYTES = 32
_KEPT = 3  # yesterday's, today's, tomorrow's


class DaySecrets:
    """Secrets by day, numbered from 1970. Safe to call from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._known: dict[int, bytes] = {}

    def of(self, day: int) -> bytes:
        """The day's secret, made if nobody has needed it before."""
        with self._turn:
            known = self._known.get(day)
            if known is None:
                known = self._known[day] = self._read(day) or self._make(day)
                for each in sorted(self._known)[:-_KEPT]:
                    del self._known[each]
            return known

    def _read(self, day: int) -> bytes | None:
        with self._database.read() as connection:
            return connection.execute(
                select(nonce_secrets.c.secret).where(nonce_secrets.c.day == day)
            ).scalar_one_or_none()

    def _make(self, day: int) -> bytes:
        secret = secrets.token_bytes(_SECRET_BYTES)
        try:
            with self._database.write() as connection:
                connection.execute(insert(nonce_secrets), {"day": day, "secret": secret})
        except IntegrityError:  # another process was faster: its secret is the day's
            theirs = self._read(day)
            if theirs is None:
                raise
            return theirs
        return secret
