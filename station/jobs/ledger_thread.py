"""The one thread that touches the station's database, and group commit: writes that wait together commit together.

Each write is a savepoint of its own, so a refused one leaves nothing behind and does not harm its neighbours. A caller
gets its answer only after the commit that makes it true. A file that somebody else has locked is waited for, within
bounds: nothing was written, so the same work is done again. After a failed fsync the thread refuses all further work,
since nobody knows what the disk holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError

from ledger.append import LeafConflictError
from ledger.engine import Connection, Engine, reading, writing
from ledger.faults import StoreError, explain
from ledger.publish import PublishError
from station.jobs import DuplicateKeyError, LedgerError, RecordConflictError
from trust.dsse import EnvelopeError
from trust.identity import IdentityError
from trust.merkle import MerkleError
from trust.statement import StatementError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]
PATIENCE_S = 30.0  # with a lock of somebody else, beyond what SQLite itself waits
_MOST = 64  # writes in one commit: bounds how long the first one waits for the last


class LedgerThread:
    """Runs work on the database, one piece after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._waiting: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._dead: str | None = None

    async def close(self) -> None:
        """Let the running work end, then close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def read(self, work: Work[T]) -> T:
        """One consistent view."""
        return await asyncio.wrap_future(self._thread.submit(self._read, work))

    async def write(self, work: Work[T]) -> T:
        """Returned means committed: from here on a crash loses nothing."""
        done: Future[T] = Future()
        self._waiting.append((work, done))
        self._thread.submit(self._commit).add_done_callback(_log_bug)
        return await asyncio.wrap_future(done)

    def _read(self, work: Work[T]) -> T:
        def once() -> T:
            with reading(self._engine) as connection:
                return work(connection)

        self._refuse_when_dead()
        with self._translated():
            return _patiently(once)

    def _commit(self) -> None:
        """Everything that waits now, in one transaction."""
        waiting = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        # A caller that went away before its turn gets nothing written; from here on none can go away unnoticed.
        batch = [(work, future) for work, future in waiting if future.set_running_or_notify_cancel()]
        if not batch:
            return
        answers: list[Callable[[], None]] = []
        told: LedgerError | None = LedgerError(
            "the station found an error in itself while writing; nothing was committed"
        )
        try:
            self._refuse_when_dead()
            with self._translated():
                answers = _patiently(lambda: self._together(batch))
            told = None
        except LedgerError as error:
            told = error
        finally:
            # Only after the commit: until here a crash means that none of them happened.
            for number, (_, future) in enumerate(batch):
                if told is None:
                    answers[number]()
                else:
                    future.set_exception(told)

    def _together(self, batch: Sequence[tuple[Work[Any], Future[Any]]]) -> list[Callable[[], None]]:
        """One transaction. It can be done again after a StoreError that says busy: then it was rolled back whole."""
        with writing(self._engine) as connection:
            return [self._one(connection, work, future) for work, future in batch]

    def _one(self, connection: Connection, work: Work[T], future: Future[T]) -> Callable[[], None]:
        """One write as a savepoint; what is wrong with it alone is told to its caller alone."""
        try:
            with self._translated(), connection.begin_nested():
                result = work(connection)
        except _REFUSALS as refused:
            return partial(future.set_exception, refused)
        except IntegrityError as broken:
            return partial(future.set_exception, LedgerError(str(explain(broken))))
        return partial(future.set_result, result)

    def _refuse_when_dead(self) -> None:
        if self._dead is not None:
            raise LedgerError(self._dead)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of ledger and trust as callers of `station.jobs.Jobs` know them."""
        try:
            yield
        except StoreError as error:
            if error.fatal:
                self._dead = f"{error} (this process must end)"
            raise LedgerError(str(error)) from error
        except LeafConflictError as error:
            raise RecordConflictError(str(error)) from error
        except (EnvelopeError, StatementError, IdentityError, MerkleError) as error:
            text = f"the ledger holds what this station never writes ({error}): run station ledger verify --config FILE"
            raise UnreadableLedgerError(text) from error


def _patiently(work: Callable[[], T]) -> T:
    """The work, tried again while somebody else has the file locked; StoreError when that lasts too long."""
    began = time.monotonic()
    while True:
        try:
            return work()
        except StoreError as error:
            waited = time.monotonic() - began
            if not error.busy or waited > PATIENCE_S:
                raise
            text = "another process has kept the ledger locked for %.1f s; waiting, for up to %.0f s more"
            log.warning(text, waited, PATIENCE_S - waited)


def _log_bug(committed: Future[None]) -> None:
    """What `_commit` did not expect: its callers were told that nothing was committed, the maintainer is told why."""
    bug = committed.exception()
    if bug is not None:
        log.error("bug while writing the ledger", exc_info=bug)


class UnreadableLedgerError(LedgerError):
    """What is in the ledger cannot be read; the database itself works."""


_REFUSALS = (RecordConflictError, DuplicateKeyError, PublishError, UnreadableLedgerError)
