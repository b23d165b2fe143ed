"""Jobs: one device under one order, for life, and the durable record of each step. Values and protocol.

`station.jobs.store` keeps them in SQL together with the ledger: state change, leaf and outbox row are one transaction.
Append-only: nothing is ever updated, so the audit can recompute all of it from the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.statement import Event


class LedgerError(Exception):
    """The station's ledger cannot be written or read: disk full, read-only, damaged. Stops the line."""


class RecordConflictError(Exception):
    """The step is recorded already with other bytes, or its turn has not come; nothing was written."""


class DuplicateKeyError(Exception):
    """The key, modulus or ECDSA r is on record under another job; nothing was written. `job` names it."""

    def __init__(self, message: str, job: JobId) -> None:
        super().__init__(message)
        self.job = job


class RecordKind(StrEnum):
    """The steps of a job that leave a statement or intent behind; at most one of each a job, never changed."""

    INTENT = "intent"  # the pin statement's exact bytes, not signed yet
    PIN = "pin"  # signed by the signer; enters the outbox
    PIN_RECEIPT = "pin-receipt"  # leaves the outbox
    PIN_REFUSED = "pin-refused"  # an event: the registry refused the statement for good; booked as a loss
    HANDSHAKE_REPORT = "handshake-report"  # the device service's word of the unit's live handshake
    COMPLETION_INTENT = "completion-intent"  # the completion's exact bytes, not signed yet
    COMPLETION = "completion"  # signed by the signer; enters the outbox; the unit has passed
    COMPLETION_RECEIPT = "completion-receipt"  # leaves the outbox: active in the cloud
    COMPLETION_REFUSED = "completion-refused"  # an event: refused for good; what the registry has instead stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One device under one order. `adopted` if its id came from outside: from the registry, or with a collected key."""

    job_id: JobId
    device_id: DeviceId
    order_id: str
    adopted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """A job and all that is on record of it.

    `attempts`: insertions begun so far; `verdicts`: the events of those that ended without PASS, in log order.
    """

    job: Job
    attempts: int
    records: Mapping[RecordKind, Envelope]
    verdicts: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """A statement that the registry has not acknowledged yet; `place` is its leaf."""

    job: Job
    kind: RecordKind
    envelope: Envelope
    place: int = 0


class Jobs(Protocol):
    """The station's memory. Every call that writes returns only after the commit. Raises LedgerError and the above."""

    async def begin(self, device: DeviceId, order_id: str, *, slot: str, adopt: JobId | None = None) -> OnRecord:
        """One more attempt on record, under the device's job of this order, which is made now if there is none.

        `adopt` is the id of a job that another station began. RecordConflictError when the job here has another id.
        """

    async def of_device(self, device: DeviceId) -> tuple[OnRecord, ...]:
        """All jobs of a device, oldest first."""

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        """Put one step on record: leaf, record and outbox row in one transaction.

        The same payload again changes nothing; another is RecordConflictError. INTENT indexes fingerprint and modulus,
        both intents each ECDSA r of the device: DuplicateKeyError when another job has one of them.
        """

    async def note(self, event: Event) -> None:
        """Append an event leaf (attempt begun, key replaced, verdict …); each (job, attempt, kind) once."""

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        """Events of these kinds about a device, oldest first."""

    async def keep_paper(self, paper: Envelope) -> None:
        """Put a statement that is about no job in the log: a lease, an act; the same again changes nothing."""

    async def papers(self, order_id: str) -> tuple[Envelope, ...]:
        """What changed an order's numbers here, oldest first: acts, and its return."""

    async def order(self, order_id: str) -> Envelope | None:
        """The envelope of an order this station worked under."""

    async def pending(self, after: int = -1, most: int | None = None) -> tuple[OutboxItem, ...]:
        """The outbox, oldest first: from behind this place on, at most so many."""

    async def waiting(self) -> int:
        """How many statements are in the outbox."""

    async def unfinished(self, order_id: str) -> tuple[Job, ...]:
        """Jobs with a pin statement, no completion, and not refused or scrapped: held, or on the way (*finish me*)."""

    async def refused(self, order_id: str) -> tuple[Job, ...]:
        """Jobs whose pin statement the registry has refused for good: what was held of them belongs into quarantine."""

    async def verdicts(self, order_id: str) -> tuple[Event, ...]:
        """The verdict events of each job without completion (a completion is the PASS), in log order."""
