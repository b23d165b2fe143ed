"""What the leaves told so far, and what the next one adds: turns, owners of keys, one key a device.

The memory of the audit (checks 7 to 11); units are counted in `station.audit.books` (15), and what needs no memory is
in `station.audit.statements`. The statements of a job are kept only until it is finished. Never reads a database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from msgspec import MsgspecError

from station.audit import device, papers, statements
from station.audit.books import Books
from station.audit.statements import Trust
from station.jobs import RecordKind
from station.jobs.leaf import JOB_OPENED, JobLeaf, LeafError
from station.jobs.papers import Paper
from station.jobs.projection import Known, Recorded, Row, problem, rows
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import Completion, Event, PinStatement

Problem = tuple[int, str]
# What judging foreign bytes can raise: ours are ValueErrors, the rest is what decoders and cryptography throw.
UNJUDGEABLE = (ValueError, ArithmeticError, RecursionError, UnsupportedAlgorithm, MsgspecError)


@dataclass(frozen=True, slots=True)
class Told:
    """What one leaf gave: problems with their check's number, and the state rows it implies."""

    problems: tuple[Problem, ...]
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Counts:
    """Jobs as the leaves tell them."""

    jobs: int = 0
    pinned: int = 0
    passed: int = 0
    emulated: int = 0
    proved: int = 0
    waived: int = 0
    not_asked: int = 0


@dataclass(slots=True)
class _Story:
    """One job so far. `known.records` is the same dictionary as `records`."""

    known: Known
    records: dict[RecordKind, Recorded]
    envelopes: dict[RecordKind, Envelope] = field(default_factory=dict)


class Storyteller:
    """Takes the leaves in order."""

    def __init__(self, trusted: TrustedRoot, station: str) -> None:
        self.counts = Counts()
        self.books = Books(station)
        self._trust = Trust(trusted, station)
        self._places: set[tuple[str, str]] = set()
        self._orders: dict[str, Envelope] = {}
        self._stories: dict[str, _Story] = {}
        self._job_of: dict[tuple[str, str], str] = {}
        self._owner: dict[str, str] = {}
        self._signed: dict[int, tuple[str, bytes]] = {}
        self._key_of: dict[str, str] = {}

    def tell(self, leaf: JobLeaf, index: int) -> Told:
        """The next leaf."""
        problems = list(statements.belongs(leaf, self._trust))
        place = (leaf.subject, leaf.step)
        if place in self._places:
            problems.append((7, f"{leaf.subject} {leaf.step} is in the log before, with other bytes"))
        self._places.add(place)
        story = self._stories.get(leaf.job)
        try:
            problems.extend(self._about(leaf, story))  # those before the one that raises are kept
        except UNJUDGEABLE as error:
            problems.append((11, f"row {index} cannot be judged: {error}"))
        implied = self._rows(leaf, index, story, problems)
        if leaf.kind is not None and story is not None:
            self._remember(leaf, leaf.kind, index, story)
        return Told(tuple(problems), implied)

    def _about(self, leaf: JobLeaf, story: _Story | None) -> Iterator[Problem]:
        if leaf.kind is not None:
            yield from self._record(leaf, leaf.kind, story)
        elif isinstance(leaf.body, WorkOrder):
            self._orders[leaf.body.order_id] = leaf.envelope
            self.books.open(leaf.body)
            yield from statements.order(leaf.envelope, self._trust.trusted)
        elif isinstance(leaf.body, Paper):
            told = papers.problems(leaf.body, leaf.envelope, self._trust.trusted, self._trust.station)
            yield from ((9, text) for text in told)
            yield from self.books.change(leaf.body)
        elif isinstance(leaf.body, Event) and leaf.body.kind == JOB_OPENED:
            yield from self._open(leaf.body)

    def _rows(self, leaf: JobLeaf, index: int, story: _Story | None, problems: list[Problem]) -> tuple[Row, ...]:
        try:
            return tuple(rows(leaf, index, story.known if story else None))
        except LeafError as error:
            problems.append((11, str(error)))
            return ()

    def _open(self, event: Event) -> Iterator[Problem]:
        under = (event.device_id, event.order_id)
        if event.job in self._stories:
            yield 10, f"job {event.job} was opened before"
            return
        if under in self._job_of:
            yield 10, f"device {event.device_id} has job {self._job_of[under]} under {event.order_id} already"
        records: dict[RecordKind, Recorded] = {}
        adopted = event.details.get("adopted") == "yes"
        known = Known(
            station=self._trust.station,
            job_id=event.job,
            device_id=event.device_id,
            order_id=event.order_id,
            adopted=adopted,
            records=records,
        )
        self._stories[event.job] = _Story(known, records)
        self._job_of[under] = event.job
        self.counts.jobs += 1

    def _record(self, leaf: JobLeaf, kind: RecordKind, story: _Story | None) -> Iterator[Problem]:
        if story is None:
            yield 10, f"there is no job {leaf.job}"
            return
        wrong = problem(leaf, story.known)
        if wrong is not None:
            yield 10, wrong
        yield from self.books.enter(story.known.order_id, leaf.job, kind, leaf.body)
        yield from statements.signatures(leaf, self._trust, adopted=story.known.adopted)
        yield from statements.content(leaf, self._trust, self._orders.get(story.known.order_id), story.envelopes)
        if isinstance(leaf.body, PinStatement | Completion):
            yield from self._owners(leaf.body)
        if kind is RecordKind.PIN and isinstance(leaf.body, PinStatement):
            pin = leaf.body
            if self._key_of.setdefault(pin.device_id, pin.fingerprint) != pin.fingerprint:
                yield 11, f"device {pin.device_id} was signed for with another key"

    def _owners(self, body: PinStatement | Completion) -> Iterator[Problem]:
        """One device a key and r; one message an r. A modulus is a key's, as there is one exponent."""
        try:
            used = list(device.nonces(body))
            fingerprint = device.key_of(body).fingerprint if isinstance(body, PinStatement) else None
        except (ValueError, OverflowError) as error:
            yield 11, str(error)
            return
        if fingerprint is not None and (owner := self._owner.setdefault(fingerprint, body.job)) != body.job:
            yield 11, f"key is on record under job {owner}"
        for r, signed in used:
            owner, first = self._signed.setdefault(r, (body.job, signed))
            if owner != body.job:
                yield 11, f"ECDSA r is on record under job {owner}"
            elif first != signed:
                yield 11, "two different signatures of the device share r: the private key is known"

    def _remember(self, leaf: JobLeaf, kind: RecordKind, index: int, story: _Story) -> None:
        story.records.setdefault(kind, Recorded(index, leaf.envelope.payload_sha256))
        story.envelopes.setdefault(kind, leaf.envelope)
        self.counts.pinned += kind is RecordKind.PIN_RECEIPT
        if kind is RecordKind.COMPLETION and isinstance(leaf.body, Completion):
            self._count(leaf.body)
        if kind is RecordKind.PIN and isinstance(leaf.body, PinStatement):
            self.counts.emulated += leaf.body.declared.emulated
        if kind is RecordKind.COMPLETION_RECEIPT:
            story.envelopes.clear()

    def _count(self, done: Completion) -> None:
        """A unit that passed; what its completion says of the live handshake was judged before."""
        counts, handshake = self.counts, done.verification.handshake
        counts.passed += 1
        counts.proved += handshake == "proved"
        counts.waived += handshake == "waived"
        counts.not_asked += handshake == "not-asked"
