"""The station's memory in SQL, kept together with the ledger: one thread, one transaction a step, nothing ever changed.

Implements `station.jobs.Jobs`. A crash anywhere leaves a step whole or absent: leaf, record, key and outbox row commit
together. After a failed fsync the store refuses further work, since nobody knows what the disk holds. Never verifies a
signature (signer, outbox and audit do) and never talks to anyone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ledger.append import tip
from ledger.engine import Connection, Engine
from ledger.publish import ROUNDS, Standing, latest, prepare, standing, store
from station.jobs import Job, OnRecord, OutboxItem, RecordKind, counts, queries, writes
from station.jobs.counts import Tally
from station.jobs.ledger_thread import LedgerThread
from station.jobs.stamp import Stamp
from station.jobs.told import Told
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.merkle import Frontier
from trust.signed_note import Checkpoint, Head, NoteKey
from trust.statement import Event


class JobStore:
    """Jobs, records, outbox and log of one station. Close it when done; one process at a time writes a ledger."""

    def __init__(self, engine: Engine, stamp: Stamp) -> None:
        self._stamp = stamp
        self._ledger = LedgerThread(engine)
        # Every outbox row below this leaf is answered, for ever: answers are never taken back. Only saves a scan.
        self._answered_below = 0
        self._told = Told()

    @property
    def station(self) -> str:
        """Whose ledger this is."""
        return self._stamp.station

    async def close(self) -> None:
        """Let the running transaction end, then close the file."""
        await self._ledger.close()

    async def keep_order(self, order: Envelope) -> None:
        """Put the order's envelope in the log, for outbox and auditor; its body, approved again, changes nothing."""
        await self._ledger.write(lambda connection: writes.keep_order(connection, order))

    async def keep_paper(self, paper: Envelope) -> None:
        """Put a statement that is about no job in the log: a lease, an act; the same again changes nothing."""
        await self._ledger.write(lambda connection: writes.keep_paper(connection, paper))

    async def papers(self, order_id: str) -> tuple[Envelope, ...]:
        """What changed an order's numbers here, oldest first: acts, and its return."""
        return await self._ledger.read(lambda connection: queries.papers(connection, order_id))

    async def last_event(self, kind: str) -> Event | None:
        """The newest event of the line of this kind."""
        return await self._ledger.read(lambda connection: queries.last_event(connection, kind))

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        """Events of these kinds about a device that belong to no order, oldest first."""
        return await self._ledger.read(lambda connection: queries.told_of(connection, device, kinds))

    async def devices_told_of(self, kind: str) -> frozenset[str]:
        """The ids of the devices that an event of this kind, of no order, is about."""
        return await self._ledger.read(lambda connection: queries.devices_told_of(connection, kind))

    async def order(self, order_id: str) -> Envelope | None:
        """The envelope of an order this station worked under."""
        return await self._ledger.read(lambda connection: queries.order(connection, order_id))

    async def begin(self, device: DeviceId, order_id: str, *, slot: str, adopt: JobId | None = None) -> OnRecord:
        """One more attempt on record, under the device's job of this order, which is made now if there is none.

        `adopt` is the id of a job that another station began. RecordConflictError when the job here has another id.
        """
        return await self._ledger.write(
            lambda connection: writes.begin(
                connection, self._stamp, device, order_id, slot=slot, adopt=adopt, told=self._told.so_far
            )
        )

    async def of_device(self, device: DeviceId) -> tuple[OnRecord, ...]:
        """All jobs of a device, oldest first."""
        return await self._ledger.read(lambda connection: queries.of_device(connection, device, self._told.committed))

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        """Put one step on record: leaf, record and outbox row in one transaction.

        The same payload again changes nothing; another, or a step before its turn, is RecordConflictError. INTENT
        indexes fingerprint and modulus, both intents each ECDSA r of the device: DuplicateKeyError when another job has
        one of them.
        """
        station = self._stamp.station
        await self._ledger.write(lambda connection: writes.record(connection, station, job, kind, envelope))

    async def note(self, event: Event) -> None:
        """Append an event leaf; each (job, attempt, kind) once: RecordConflictError for other bytes."""
        await self._ledger.write(lambda connection: writes.note(connection, event))

    async def pending(self, after: int = -1, most: int | None = None) -> tuple[OutboxItem, ...]:
        """The outbox, oldest first: from behind this place on, at most so many."""
        return await self._ledger.read(lambda connection: self._pending(connection, after, most))

    async def waiting(self) -> int:
        """How many statements are in the outbox."""
        return await self._ledger.read(lambda connection: queries.waiting(connection, self._answered_below))

    async def unfinished(self, order_id: str) -> tuple[Job, ...]:
        """Jobs with a pin statement and no completion, neither refused nor scrapped: held, or left on the way."""
        return await self._ledger.read(lambda connection: queries.unfinished(connection, order_id))

    async def signed_for(self, order_id: str) -> tuple[OnRecord, ...]:
        """Jobs of an order with a pin statement, with all that is on record of each, oldest first."""
        return await self._ledger.read(
            lambda connection: queries.signed_for(connection, order_id, self._told.committed)
        )

    async def refused(self, order_id: str) -> tuple[Job, ...]:
        """Jobs whose pin statement the registry has refused for good, oldest first."""
        return await self._ledger.read(lambda connection: queries.refused(connection, order_id))

    async def unanswered(self, order_id: str, intent: RecordKind) -> tuple[Job, ...]:
        """Jobs with this intent (INTENT or COMPLETION_INTENT) on record, and nothing that was signed for it."""
        return await self._ledger.read(lambda connection: queries.unanswered(connection, order_id, intent))

    async def tally(self, order_id: str) -> Tally:
        """How many jobs of an order got how far, scrapped or not."""
        return await self._ledger.read(lambda connection: counts.tally(connection, order_id))

    async def scrapped_tally(self, order_id: str) -> Tally:
        """How far those jobs had got whose device is scrapped."""
        return await self._ledger.read(lambda connection: counts.tally(connection, order_id, scrapped=True))

    async def scrapped(self, order_id: str) -> frozenset[DeviceId]:
        """The order's devices whose scrap is on record."""
        return await self._ledger.read(lambda connection: queries.scrapped(connection, order_id))

    async def verified_again(self, job: JobId) -> int:
        """How many of a job's insertions began after it had passed."""
        return await self._ledger.read(lambda connection: counts.verified_again(connection, job))

    async def emulated(self, order_id: str) -> int:
        """How many of the units that an order's pin statements are about are emulated."""
        return await self._ledger.read(lambda connection: counts.emulated(connection, order_id))

    async def handshakes(self, order_id: str) -> counts.Handshakes:
        """What became of the live handshakes of an order's units that passed and are not scrapped."""
        return await self._ledger.read(lambda connection: counts.handshakes(connection, order_id))

    async def pin_count(self, order_id: str) -> counts.PinCount:
        """Pin statements of this very station under an order, and intents without one, at one moment."""
        station = self._stamp.station
        return await self._ledger.read(lambda connection: counts.pin_count(connection, order_id, station))

    async def verdicts(self, order_id: str) -> tuple[Event, ...]:
        """The verdict events of each job without completion (a completion is the PASS), in log order."""
        return await self._ledger.read(lambda connection: queries.verdicts(connection, order_id))

    async def reworked(self, order_id: str) -> int:
        """How many of an order's devices were reworked here, to the end that the act wanted."""
        return await self._ledger.read(lambda connection: counts.reworked(connection, order_id))

    async def turned_away(self, order_id: str) -> int:
        """How many devices were given a verdict under this order without a job, and have none since."""
        return await self._ledger.read(lambda connection: counts.turned_away(connection, order_id))

    async def orders(self) -> tuple[str, ...]:
        """The orders this station worked under, oldest first."""
        return await self._ledger.read(queries.order_ids)

    async def newest_event(self) -> Event | None:
        """The event appended last; its time must not be ahead of the clock."""
        return await self._ledger.read(queries.newest_event)

    async def tip(self) -> Frontier:
        """Size and root of the log now."""
        return await self._ledger.read(tip)

    async def standing(self, at: int) -> Standing:
        """How far log and checkpoints are, and the log's root hash over its first `at` leaves."""
        return await self._ledger.read(lambda connection: standing(connection, at))

    async def checkpoint(self) -> str | None:
        """The newest checkpoint's note."""
        return await self._ledger.read(latest)

    async def publish(self, key: NoteKey, sign: Callable[[Head], Awaitable[str]]) -> Checkpoint | None:
        """Have every leaf covered by a checkpoint; the newest one, or None if all were covered.

        Whatever `sign` raises goes through: the intent is durable, the next call asks for the same head again.
        """
        newest = None
        for _ in range(ROUNDS):
            head = await self._ledger.write(lambda connection: prepare(connection, key.name))
            if head is None:
                break
            newest = await self._store_note(head, await sign(head), key)
        return newest

    async def _store_note(self, head: Head, note: str, key: NoteKey) -> Checkpoint:
        return await self._ledger.write(lambda connection: store(connection, head, note, key))

    def _pending(self, connection: Connection, after: int, most: int | None) -> tuple[OutboxItem, ...]:
        if after >= self._answered_below:
            return queries.pending(connection, after + 1, most)[0]
        items, self._answered_below = queries.pending(connection, self._answered_below, most)
        return items
