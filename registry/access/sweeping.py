"""Rows whose time is over are deleted, a few at a time, by whoever comes by. Never one whose time is not over.

Over by this process's clock *and* by the database's: a process whose clock is days ahead sweeps away nothing that the
others need. (What is good once would be good twice, and their nonces would hold no more.)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Delete, Table, bindparam, delete, select

from registry.access.nonces import DAY_S
from registry.database import Database, time_s
from registry.failures import STORE_FAILED
from registry.tables import access_tokens, nonce_secrets, used_once

_log = logging.getLogger(__name__)
EVERY_S = 5.0
MOST = 5_000  # rows of a table at once: more come in within EVERY_S under no load that this registry bears
_KEPT_DAYS = 2


class Sweeper:
    """Sweeps at most every five seconds, in one thread of this process; other processes sweep beside it.

    `sweep` deletes what is over at a time in Unix seconds: what access remembers, without another word.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        *,
        sweep: Callable[[Connection, int], int] | None = None,
        every_s: float = EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._sweep, self._every_s = sweep, every_s
        self._now = now
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._due = monotonic()

    def sweep_if_due(self) -> None:
        """Sweep, unless that was done just now or another thread is at it. Its failure is nobody's else."""
        if self._monotonic() < self._due or not self._turn.acquire(blocking=False):
            return
        try:
            self._due = self._monotonic() + self._every_s
            with self._database.write() as connection:
                (self._sweep or sweep)(connection, min(int(self._now().timestamp()), time_s(connection)))
        except STORE_FAILED as error:
            _log.warning("what is over was not swept: a later request does", exc_info=error)
        finally:
            self._turn.release()


def sweep(connection: Connection, now_s: int) -> int:
    """Delete what is over; how many rows that were."""
    days = nonce_secrets.c.day < now_s // DAY_S - _KEPT_DAYS
    gone = connection.execute(delete(nonce_secrets).where(days)).rowcount
    return gone + sum(connection.execute(each, {"now": now_s}).rowcount for each in (_OLD_TOKENS, _OLD_USED))


def old(table: Table, most: int = MOST) -> Delete:
    """The statement that deletes so many rows whose `expires_at` is before the parameter `now`."""
    key = next(iter(table.primary_key))
    over = (
        select(key)
        .where(table.c.expires_at < bindparam("now"))
        .limit(most)
        .with_for_update(skip_locked=True)  # PostgreSQL: another process sweeps these; SQLite has one writer
    )
    return delete(table).where(key.in_(over))


_OLD_TOKENS: Final = old(access_tokens)
_OLD_USED: Final = old(used_once)
