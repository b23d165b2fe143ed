"""Recomputing a log from its first row: nothing that is stored is believed, everything is computed again and compared.

1. Leaves are numbered from 0 without a gap.
2. A leaf's hash is that of its entry.
3. A leaf's frontier is that of the row before, plus this leaf: a wrong row is named, not the thousands after it.
4. A checkpoint is a note over its size, signed by the log key.
5. A checkpoint's root hash is the one computed from the entries alone, from row 0.
6. The log is not shorter than what was signed; each checkpoint was asked for, from the one before, and none is missing.
   One that was asked for last may be missing if the signer says that it has not signed it.

Checks 1 to 6 alone would pass a log that was rewritten and whose checkpoints and intents were dropped. Therefore:

16. Each head that others know (`KnownHead`) was asked for here, and is that of the log's first entries.

14. (`audit_file`; the other numbers are the caller's.) SQLite finds its tables, indexes and constraints in agreement.

What an entry says is the caller's to judge, leaf by leaf. Never repairs, never stops at the first finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from ledger.engine import Connection
from ledger.tables import CHECKPOINTS, INTENTS, LEAVES
from trust.merkle import EMPTY_ROOT, Frontier, MerkleError, leaf_hash
from trust.printable import printable
from trust.signed_note import NoteError, NoteKey, verify

MAX_FINDINGS = 1000
NOT_STORED = "was asked for and is not stored"
_BATCH = 500
_LEAF = LEAVES.c
_LEAVES = (
    select(_LEAF.index, _LEAF.entry, _LEAF.leaf_hash, _LEAF.frontier, _LEAF.subject, _LEAF.step)
    .order_by(_LEAF.index)
    .execution_options(yield_per=_BATCH)
)
_CHECKPOINTS = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)
_INTENTS = select(INTENTS.c.size, INTENTS.c.old_size).order_by(INTENTS.c.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not hold: number of the check, table, row, and a sentence."""

    check: int
    table: str
    row: str
    text: str

    def __str__(self) -> str:
        return printable(f"{self.table} row {self.row}: {self.text} (check {self.check})")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLeaf:
    """A leaf as it is stored, for the caller to judge."""

    index: int
    entry: bytes
    subject: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHead:
    """A head of this log that somebody keeps outside it; `whose` begins a sentence."""

    whose: str
    size: int
    root_hash: bytes


Judge = Callable[[StoredLeaf], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What was found, and what the log is by recomputation: `covered` leaves are under a good checkpoint."""

    findings: tuple[Finding, ...]
    size: int
    root_hash: bytes
    covered: int


@dataclass(slots=True, kw_only=True)
class _Walk:
    """State of one pass over the leaves: computed from entries alone (`truth`) and as stored (`stored`)."""

    roots: dict[int, bytes]
    truth: Frontier = field(default_factory=Frontier)
    stored: Frontier | None = field(default_factory=Frontier)
    expected: int = 0

    def step(self, index: int, entry: bytes, hashed: bytes, frontier: bytes) -> Iterator[Finding]:
        if index != self.expected:
            text = f"missing: the next row there is {index}"
            yield Finding(check=1, table="leaves", row=str(self.expected), text=text)
            self.stored = None
        computed = leaf_hash(entry)
        if computed != hashed:
            yield Finding(check=2, table="leaves", row=str(index), text="its hash is not that of its entry")
        self.truth = self.truth.append(computed)
        if self.stored is not None and self.stored.append(computed).to_bytes() != frontier:
            text = "its frontier does not extend that of the row before by this entry"
            yield Finding(check=3, table="leaves", row=str(index), text=text)
        self.stored, self.expected = _frontier(frontier, index + 1), index + 1
        if self.expected in self.roots:
            self.roots[self.expected] = self.truth.root


def audit_log(
    connection: Connection, key: NoteKey, judge: Judge, known: Sequence[KnownHead] = (), *, signed: int | None = None
) -> LogReport:
    """Run checks 1 to 6 and 16 over the whole log, and `judge` over each leaf in order; stops after 1,000 findings.

    `signed`: the size of the last head that the signer says it has signed (0: none); None if it was not asked.
    """
    notes = dict(_checkpoints(connection))
    walk = _Walk(roots={0: EMPTY_ROOT, **dict.fromkeys((*notes, *(head.size for head in known if head.size)), b"")})
    findings: list[Finding] = []
    for index, entry, hashed, frontier, subject, step in connection.execute(_LEAVES):
        findings += walk.step(index, entry, hashed, frontier)
        findings += judge(StoredLeaf(index=index, entry=entry, subject=subject, step=step))
        if len(findings) > MAX_FINDINGS:
            break
    else:
        intents = _intents(connection)
        findings += _judge_intents(intents, set(notes), walk.expected, signed)
        findings += _judge_known(known, {0, *(size for size, _ in intents)}, walk)
    wrong = {size: _wrong(size, note, key, walk) for size, note in notes.items()}
    findings += [each for each in wrong.values() if each is not None]
    good = [size for size, found in wrong.items() if found is None]
    return LogReport(
        findings=tuple(findings), size=walk.expected, root_hash=walk.truth.root, covered=max(good, default=0)
    )


def audit_file(connection: Connection) -> Iterator[Finding]:
    """Check 14: each thing that `PRAGMA integrity_check` says; it stops at the hundredth.

    The quick check at opening compares no index with its table: a row that only one of them has would be seen by
    some queries and not by others, the audit's among them.
    """
    lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    for number, line in enumerate(lines, start=1):
        if line != "ok":
            text = f"the integrity check says: {line}"
            yield Finding(check=14, table="file", row=str(number), text=printable(text))


def _wrong(size: int, note: str, key: NoteKey, walk: _Walk) -> Finding | None:
    """What is wrong with a checkpoint."""
    try:
        checkpoint = verify(note, key.name, key.spki)
    except NoteError as error:
        return Finding(check=4, table="checkpoints", row=str(size), text=printable(str(error)))
    if checkpoint.size != size:
        return Finding(check=4, table="checkpoints", row=str(size), text=f"its note is over {checkpoint.size} leaves")
    if size > walk.expected:
        text = f"signed over {size} leaves, there are {walk.expected}: the log was cut"
        return Finding(check=6, table="checkpoints", row=str(size), text=text)
    if checkpoint.root_hash != walk.roots[size]:
        text = "its root hash is not that of the entries: a leaf before it was changed after it was signed"
        return Finding(check=5, table="checkpoints", row=str(size), text=text)
    return None


def _judge_intents(
    intents: list[tuple[int, int]], stored: set[int], size: int, signed: int | None
) -> Iterator[Finding]:
    before = 0
    for intended, old_size in intents:
        row = str(intended)
        if old_size != before:
            text = f"says it goes on from {old_size}, the checkpoint before is {before}"
            yield Finding(check=6, table="checkpoint_intents", row=row, text=text)
        if intended > size:
            text = f"asked for over {intended} leaves, there are {size}: the log was cut"
            yield Finding(check=6, table="checkpoint_intents", row=row, text=text)
        if intended not in stored and intended != intents[-1][0]:
            yield Finding(check=6, table="checkpoints", row=row, text="missing: it was asked for, and a later one, too")
        elif intended not in stored and (signed is None or signed >= intended):
            yield Finding(check=6, table="checkpoints", row=row, text=NOT_STORED)
        before = intended
    for unasked in sorted(stored - {intended for intended, _ in intents}):
        yield Finding(check=6, table="checkpoint_intents", row=str(unasked), text="missing: its checkpoint is there")


def _judge_known(known: Sequence[KnownHead], asked: set[int], walk: _Walk) -> Iterator[Finding]:
    for head in known:
        row, what = str(head.size), f"{head.whose} is over {head.size} leaves"
        if head.size > walk.expected:
            text = f"{what}, there are {walk.expected}: the log was cut, or is an old copy"
            yield Finding(check=16, table="leaves", row=str(walk.expected), text=text)
            continue
        if walk.roots[head.size] != head.root_hash:
            text = f"{what} with another root hash: a leaf before it was changed, or this is another log"
            yield Finding(check=16, table="checkpoints", row=row, text=text)
        if head.size not in asked:
            text = f"missing: {what}, and nobody asked for it here"
            yield Finding(check=16, table="checkpoint_intents", row=row, text=text)


def _checkpoints(connection: Connection) -> list[tuple[int, str]]:
    return [(size, note) for size, note in connection.execute(_CHECKPOINTS)]


def _intents(connection: Connection) -> list[tuple[int, int]]:
    return [(size, old_size) for size, old_size in connection.execute(_INTENTS)]


def _frontier(stored: bytes, size: int) -> Frontier | None:
    """The stored frontier, to go on from; None if it is not one of this size."""
    try:
        frontier = Frontier.from_bytes(stored)
    except MerkleError:
        return None
    return frontier if frontier.size == size else None
