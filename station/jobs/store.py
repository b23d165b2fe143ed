"""The station's memory in SQL, kept together with the ledger: one thread, one transaction a step, nothing ever changed.

Implements `station.jobs.Jobs`. A crash anywhere leaves a step whole or absent: leaf, record, key and outbox row commit
together. After a failed fsync the store refuses further work, since nobody knows what the disk holds. Never verifies a
signature (signer, outbox and audit do) and never talks to anyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from ledger.append import LeafConflictError, tip
from ledger.engine import Connection, Engine, reading, writing
from ledger.faults import StoreError
from ledger.publish import ROUNDS, Head, latest, prepare, store
from station.jobs import Job, LedgerError, OutboxItem, RecordConflictError, RecordKind, queries, writes
from station.jobs.queries import Tally
from station.jobs.stamp import Stamp
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId, IdentityError, JobId
from trust.merkle import Frontier, MerkleError
from trust.signed_note import Checkpoint, NoteKey
from trust.statement import Event, StatementError

T = TypeVar("T")
Transaction = Callable[[Engine], AbstractContextManager[Connection]]


class JobStore:
    """Jobs, records, outbox and log of one station. Close it when done; one process at a time writes a ledger."""

    def __init__(self, engine: Engine, stamp: Stamp) -> None:
        self._engine = engine
        self._stamp = stamp
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._dead: str | None = None
        # Every outbox row below this leaf is answered, for ever: answers are never taken back. Only saves a scan.
        self._answered_below = 0

    async def close(self) -> None:
        """Let the running transaction end, then close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def keep_order(self, order: Envelope) -> None:
        """Put the order's envelope in the log, for outbox and auditor; the same bytes again change nothing."""
        await self._write(lambda connection: writes.keep_order(connection, order))

    async def order(self, order_id: str) -> Envelope | None:
        """The envelope of an order this station worked under."""
        return await self._read(lambda connection: queries.order(connection, order_id))

    async def open(self, device: DeviceId, order_id: str, *, adopt: JobId | None = None) -> Job:
        """The device's job under this order, made now if there is none (with the adopted id, if one is given).

        RecordConflictError when there is one with another id than the adopted one.
        """
        return await self._write(lambda connection: writes.open_job(connection, self._stamp, device, order_id, adopt))

    async def find(self, job: JobId) -> Job | None:
        """A job by id."""
        return await self._read(lambda connection: queries.find(connection, job))

    async def jobs_of(self, device: DeviceId) -> tuple[Job, ...]:
        """All jobs of a device, oldest first."""
        return await self._read(lambda connection: queries.jobs_of(connection, device))

    async def records(self, job: JobId) -> dict[RecordKind, Envelope]:
        """What is on record of a job."""
        return await self._read(lambda connection: queries.records(connection, job))

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        """Put one step on record: leaf, record and outbox row in one transaction.

        The same bytes again change nothing; other bytes, or a step before its turn, are RecordConflictError. INTENT
        indexes fingerprint, modulus and each ECDSA r of its proof: DuplicateKeyError when another job has one of them.
        """
        await self._write(lambda connection: writes.record(connection, job, kind, envelope))

    async def note(self, event: Event) -> None:
        """Append an event leaf; each (job, attempt, kind) once: RecordConflictError for other bytes."""
        await self._write(lambda connection: writes.note(connection, event))

    async def attempts(self, job: JobId) -> int:
        """Attempts (insertions) begun so far: the highest number any event of the job carries."""
        return await self._read(lambda connection: queries.attempts(connection, job))

    async def pending(self) -> tuple[OutboxItem, ...]:
        """The outbox, oldest first."""
        return await self._read(self._pending)

    async def unfinished(self, order_id: str) -> tuple[Job, ...]:
        """Jobs with a pin statement and no completion, and not refused: held, or left on the way."""
        return await self._read(lambda connection: queries.unfinished(connection, order_id))

    async def tally(self, order_id: str) -> Tally:
        """How many jobs of an order got how far."""
        return await self._read(lambda connection: queries.tally(connection, order_id))

    async def latest_verdicts(self, order_id: str) -> tuple[Event, ...]:
        """The newest verdict event of each job without completion (a completion is the PASS), in log order."""
        return await self._read(lambda connection: queries.latest_verdicts(connection, order_id))

    async def orders(self) -> tuple[str, ...]:
        """The orders this station worked under, oldest first."""
        return await self._read(queries.order_ids)

    async def newest_event(self) -> Event | None:
        """The event appended last; its time must not be ahead of the clock."""
        return await self._read(queries.newest_event)

    async def tip(self) -> Frontier:
        """Size and root of the log now."""
        return await self._read(tip)

    async def checkpoint(self) -> str | None:
        """The newest checkpoint's note."""
        return await self._read(latest)

    async def publish(self, key: NoteKey, sign: Callable[[Head], Awaitable[str]]) -> Checkpoint | None:
        """Have every leaf covered by a checkpoint; the newest one, or None if all were covered.

        Whatever `sign` raises goes through: the intent is durable, the next call asks for the same head again.
        """
        newest = None
        for _ in range(ROUNDS):
            head = await self._write(lambda connection: prepare(connection, key.name))
            if head is None:
                break
            newest = await self._store_note(head, await sign(head), key)
        return newest

    async def _store_note(self, head: Head, note: str, key: NoteKey) -> Checkpoint:
        return await self._write(lambda connection: store(connection, head, note, key))

    def _pending(self, connection: Connection) -> tuple[OutboxItem, ...]:
        items, self._answered_below = queries.pending(connection, self._answered_below)
        return items

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._on_thread(writing, work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._on_thread(reading, work)

    async def _on_thread(self, transaction: Transaction, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: self._run(transaction, work))

    def _run(self, transaction: Transaction, work: Callable[[Connection], T]) -> T:
        """One transaction, on the ledger thread. Returned means committed: from here on a crash loses nothing."""
        if self._dead is not None:
            raise LedgerError(self._dead)
        try:
            with transaction(self._engine) as connection:
                return work(connection)
        except StoreError as error:
            if error.fatal:
                self._dead = f"{error} (this process must end)"
            raise LedgerError(str(error)) from error
        except LeafConflictError as error:
            raise RecordConflictError(str(error)) from error
        except (EnvelopeError, StatementError, IdentityError, MerkleError) as error:
            raise LedgerError(f"the ledger holds what this station never writes ({error}): run the audit") from error
