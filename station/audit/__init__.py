"""The audit of a station's ledger: everything recomputed from row 1, nothing believed that is only stored.

Checks 1 to 6 are the log's own (`ledger.audit`). On top of them, for each leaf in order:

7. The entry is a leaf of this station's log, under the one subject and step that its bytes say.
8. Environment, trust root and station are those asked for.
9. Statements are signed by the key that the trust root names for their purpose; events and intents by nobody.
10. Its turn has come: intent before statement, receipt before completion, one answer of the registry; same job, same
    bytes.
11. What it says holds: proofs of possession, vetting, order, receipt, closing report; one key a device, one device a
    key.
12. Each row of the state tables is implied by a leaf, and each row that a leaf implies is there.
13. The schema is as the migrations make it: constraints and append-only triggers.
14. Tables and indexes of the file say the same: who reads through an index sees the rows that were audited.
15. No order has more units than it allows, each device counted once; and the report's figures are those of the leaves.
16. The log goes on from each head that is known outside it; and one with completions has a checkpoint.

Reads only. Never repairs; whoever finds something keeps the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger.audit import NOT_STORED, Finding, KnownHead, StoredLeaf, audit_file, audit_log
from ledger.engine import Connection, Engine, reading
from station.audit.books import Books
from station.audit.story import UNJUDGEABLE, Storyteller
from station.jobs.counts import tally
from station.jobs.leaf import LeafError, parse_entry
from station.jobs.recount import Mismatch, Recount, schema_mismatches
from trust.printable import printable
from trust.root import TrustedRoot
from trust.signed_note import NoteKey

_NO_ROW = "-"  # of a checkpoint that there is none of
__all__ = ["AuditReport", "Finding", "KnownHead", "audit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was found (empty: all holds), and what the log is. `covered` leaves are under a signed checkpoint.

    `emulated` counts the jobs whose pin statement declares the unit to be no real device. What became of the live
    handshakes: passed = `proved` + `waived` + `not_asked`.
    """

    findings: tuple[Finding, ...]
    leaves: int
    root_hash: bytes
    covered: int
    jobs: int
    pinned: int
    passed: int
    emulated: int
    proved: int
    waived: int
    not_asked: int

    @property
    def interrupted(self) -> bool:
        """Whether all that was found is that the last checkpoint was asked for and is not stored.

        So a batch leaves it whose signer or station ended before its end, and so does whoever removes one.
        """
        rest = [each for each in self.findings if each.text != NOT_STORED]
        return len(rest) < len(self.findings) and all(each.row == _NO_ROW for each in rest)

    @property
    def summary(self) -> str:
        """One line for people."""
        later = self.leaves - self.covered
        tail = f", {later} later not covered yet" if later else ""
        return (
            f"{self.leaves} leaves, root {self.root_hash.hex()}, checkpoint over {self.covered}{tail}; "
            f"{self.jobs} jobs, {self.pinned} pinned, {self.passed} passed"
        )


def audit(
    engine: Engine, trusted: TrustedRoot, station: str, *, known: Sequence[KnownHead] = (), signed: int | None = None
) -> AuditReport:
    """Audit a station's database against a trust root, and against the heads that others know of it.

    `signed`: the size of the last head that the signer says it has signed (0: none, so none can be missing); None if it
    was not asked. Findings come in the order of the leaves, then checkpoints, stray rows, schema, file, orders, heads.
    Raises RootError or NoteError when the root names no usable keys for the station, StoreError when the file cannot be
    read at all.
    """
    key = NoteKey(trusted.root.log_origin(station), trusted.root.station(station).log)
    with reading(engine) as connection:
        auditor = _Auditor(connection, Storyteller(trusted, station))
        log = audit_log(connection, key, auditor.judge, known, signed=signed)
        rest = [
            *auditor.strays(),
            *_mismatches(schema_mismatches(connection), check=13),
            *audit_file(connection),
            *_miscounted(connection, auditor.storyteller.books),
        ]
    told = auditor.storyteller.counts
    if told.passed and not log.covered and signed != 0:
        rest.append(_unbound(told.passed))
    return AuditReport(
        findings=(*log.findings, *rest),
        leaves=log.size,
        root_hash=log.root_hash,
        covered=log.covered,
        jobs=told.jobs,
        pinned=told.pinned,
        passed=told.passed,
        emulated=told.emulated,
        proved=told.proved,
        waived=told.waived,
        not_asked=told.not_asked,
    )


class _Auditor:
    """Judges leaf after leaf, in order; the state tables are read beside them."""

    def __init__(self, connection: Connection, storyteller: Storyteller) -> None:
        self.storyteller = storyteller
        self._recount = Recount(connection)

    def judge(self, stored: StoredLeaf) -> Iterator[Finding]:
        """Checks 7 to 12 of one leaf. Whatever its bytes are: findings, and on to the next leaf."""
        try:
            yield from self._judge(stored)
        except UNJUDGEABLE as error:
            yield _of_leaf(stored, 7, f"row {stored.index} cannot be judged: {error}")

    def _judge(self, stored: StoredLeaf) -> Iterator[Finding]:
        try:
            leaf = parse_entry(stored.entry)
        except LeafError as error:
            yield _of_leaf(stored, 7, str(error))
            return
        if (stored.subject, stored.step) != (leaf.subject, leaf.step):
            text = f"stored under ({stored.subject}, {stored.step}), its bytes say ({leaf.subject}, {leaf.step})"
            yield _of_leaf(stored, 7, text)
        told = self.storyteller.tell(leaf, stored.index)
        for check, text in told.problems:
            yield _of_leaf(stored, check, text)
        yield from _mismatches(self._recount.at(stored.index, told.rows), check=12)

    def strays(self) -> Iterator[Finding]:
        """Check 12 for the rows that name no leaf."""
        yield from _mismatches(self._recount.end(), check=12)


def _unbound(passed: int) -> Finding:
    text = f"{passed} units have passed and no checkpoint covers a leaf: nothing binds the order of leaves, or an event"
    return Finding(check=16, table="checkpoints", row=_NO_ROW, text=text)


def _miscounted(connection: Connection, books: Books) -> Iterator[Finding]:
    """Check 15: where the report's queries, asked of the state tables, do not give what the leaves say.

    And where balances tell of papers that are not in the log.
    """
    for order_id, account in books.accounts.items():
        told, out = tally(connection, order_id), tally(connection, order_id, scrapped=True)
        counted = (told.signed_for, told.passed, told.refused, out.signed_for - out.refused)
        if counted != (found := account.equation(books.scrapped)):
            text = f"signed for, passed, lost and scrapped are {counted} for the report, {found} by the leaves"
            yield Finding(check=15, table="orders", row=printable(order_id), text=text)
    for order_id, text in books.unpapered():
        yield Finding(check=15, table="orders", row=printable(order_id), text=text)


def _of_leaf(stored: StoredLeaf, check: int, text: str) -> Finding:
    return Finding(check=check, table="leaves", row=str(stored.index), text=printable(text))


def _mismatches(found: Iterator[Mismatch], check: int) -> Iterator[Finding]:
    for each in found:
        yield Finding(check=check, table=each.table, row=printable(each.row), text=printable(each.text))
