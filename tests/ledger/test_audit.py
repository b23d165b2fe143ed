"""The log's own checks, by number: what is wrong, in which row, and nothing about the rows that are right."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.audit import Finding, LogReport, StoredLeaf, audit_log
from ledger.engine import Engine, reading
from tests.ledger.conftest import LogSigner
from tests.ledger.publishing import publish
from tests.trust.trees import root_of
from trust.merkle import Frontier, leaf_hash

SIZE, SIGNED = 40, 25
Tamper = Callable[..., None]


@pytest.fixture
def log(engine: Engine, fill: Callable[[int], None], signer: LogSigner) -> Engine:
    """40 leaves; checkpoints over 10 and 25."""
    for count in (10, 15):
        fill(count)
        publish(engine, signer.key, signer.sign)
    fill(SIZE - SIGNED)
    return engine


@pytest.fixture
def tamper(log: Engine, path: Path) -> Tamper:
    """SQL on the file, its triggers dropped."""

    def change(*statements: str, values: tuple[object, ...] = ()) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            for each in statements:
                connection.execute(each, values)

    return change


def nothing(_: StoredLeaf) -> Iterator[Finding]:
    yield from ()


def audited(engine: Engine, signer: LogSigner, signed: int | None = None) -> LogReport:
    with reading(engine) as connection:
        return audit_log(connection, signer.key, nothing, signed=signed)


def found(engine: Engine, signer: LogSigner, signed: int | None = None) -> list[tuple[int, str, str]]:
    return [(each.check, each.table, each.row) for each in audited(engine, signer, signed).findings]


def test_a_log_that_holds(log: Engine, signer: LogSigner) -> None:
    report = audited(log, signer)
    assert report.findings == ()
    assert (report.size, report.covered) == (SIZE, SIGNED)
    assert report.root_hash == root_of(leaf_hash(f"entry {each}".encode()) for each in range(SIZE))


def test_an_empty_log_holds(engine: Engine, signer: LogSigner) -> None:
    report = audited(engine, signer)
    assert (report.findings, report.size, report.covered) == ((), 0, 0)


def test_the_caller_judges_every_leaf_in_order(log: Engine, signer: LogSigner) -> None:
    seen = []

    def judge(leaf: StoredLeaf) -> Iterator[Finding]:
        seen.append((leaf.index, leaf.entry, leaf.subject, leaf.step))
        if leaf.index == 3:
            yield Finding(check=99, table="leaves", row="3", text="the caller's")

    with reading(log) as connection:
        report = audit_log(connection, signer.key, judge)
    assert seen == [(each, f"entry {each}".encode(), "test", str(each)) for each in range(SIZE)]
    assert [str(each) for each in report.findings] == ["leaves row 3: the caller's (check 99)"]


@pytest.mark.parametrize("row", [0, 7, 24])
def test_a_changed_entry_names_its_row_and_the_checkpoints_after_it(
    log: Engine, signer: LogSigner, tamper: Tamper, row: int
) -> None:
    tamper(f"UPDATE leaves SET entry = x'00' WHERE \"index\" = {row}")
    signed = [(5, "checkpoints", str(size)) for size in (10, 25) if row < size]
    assert found(log, signer) == [(2, "leaves", str(row)), (3, "leaves", str(row)), *signed]
    assert audited(log, signer).covered == (0 if row < 10 else 10)


def test_a_changed_entry_after_the_last_checkpoint_is_found_too(log: Engine, signer: LogSigner, tamper: Tamper) -> None:
    tamper("UPDATE leaves SET entry = x'00' WHERE \"index\" = 39")
    assert found(log, signer) == [(2, "leaves", "39"), (3, "leaves", "39")]


def test_an_entry_with_its_hash_is_caught_by_the_frontier(log: Engine, signer: LogSigner, tamper: Tamper) -> None:
    tamper("UPDATE leaves SET entry = x'00', leaf_hash = ? WHERE \"index\" = 30", values=(leaf_hash(b"\x00"),))
    assert found(log, signer) == [(3, "leaves", "30")]


def test_a_history_rewritten_to_the_end_is_caught_by_what_was_signed(
    log: Engine, signer: LogSigner, path: Path, tamper: Tamper
) -> None:
    """Every stored hash is made right again; only the signed root remembers."""
    tamper("UPDATE leaves SET entry = x'00' WHERE \"index\" = 12")
    with closing(sqlite3.connect(path)) as connection, connection:
        frontier = Frontier()
        for index, entry in connection.execute('SELECT "index", entry FROM leaves ORDER BY "index"').fetchall():
            frontier = frontier.append(leaf_hash(entry))
            change = 'UPDATE leaves SET leaf_hash = ?, frontier = ? WHERE "index" = ?'
            connection.execute(change, (leaf_hash(entry), frontier.to_bytes(), index))
    assert found(log, signer) == [(5, "checkpoints", "25")]


def test_a_damaged_frontier_names_its_row(log: Engine, signer: LogSigner, tamper: Tamper) -> None:
    tamper("UPDATE leaves SET frontier = x'0011' WHERE \"index\" = 20")
    assert found(log, signer) == [(3, "leaves", "20")]
    tamper('UPDATE leaves SET frontier = (SELECT frontier FROM leaves WHERE "index" = 19) WHERE "index" = 20')
    assert found(log, signer) == [(3, "leaves", "20")]


@pytest.mark.parametrize("row", [0, 20])
def test_a_missing_leaf_is_named(log: Engine, signer: LogSigner, tamper: Tamper, row: int) -> None:
    tamper(f'DELETE FROM leaves WHERE "index" = {row}')
    assert found(log, signer)[0] == (1, "leaves", str(row))


def test_a_log_shorter_than_signed(log: Engine, signer: LogSigner, tamper: Tamper) -> None:
    tamper('DELETE FROM leaves WHERE "index" >= 20')
    assert found(log, signer) == [(6, "checkpoint_intents", "25"), (6, "checkpoints", "25")]


def test_a_note_by_another_key_or_of_another_size(log: Engine, signer: LogSigner, tamper: Tamper) -> None:
    stranger = LogSigner()
    note = stranger.sign(signer.asked[1])
    tamper("UPDATE checkpoints SET note = ? WHERE size = 25", values=(note,))
    assert found(log, signer) == [(4, "checkpoints", "25")]
    tamper("UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 10) WHERE size = 25")
    assert found(log, signer) == [(4, "checkpoints", "25")]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("DELETE FROM checkpoints WHERE size = 10", [(6, "checkpoints", "10")]),
        ("DELETE FROM checkpoints WHERE size = 25", [(6, "checkpoints", "25")]),
        (
            "DELETE FROM checkpoint_intents WHERE size = 10",
            [(6, "checkpoint_intents", "25"), (6, "checkpoint_intents", "10")],
        ),
        ("DELETE FROM checkpoint_intents WHERE size = 25", [(6, "checkpoint_intents", "25")]),
        ("UPDATE checkpoint_intents SET old_size = 9 WHERE size = 25", [(6, "checkpoint_intents", "25")]),
        ("INSERT INTO checkpoint_intents VALUES (30, 25)", [(6, "checkpoints", "30")]),
    ],
)
def test_checkpoints_and_their_intents(
    log: Engine, signer: LogSigner, tamper: Tamper, change: str, wanted: list[tuple[int, str, str]]
) -> None:
    tamper(change)
    assert found(log, signer) == wanted


def test_what_was_asked_for_last_may_be_missing_if_the_signer_has_not_signed_it(
    log: Engine, signer: LogSigner, tamper: Tamper
) -> None:
    """A batch whose signer ended leaves this; only the signer can tell it from a checkpoint that was removed."""
    tamper("INSERT INTO checkpoint_intents VALUES (30, 25)")
    assert found(log, signer, signed=25) == []
    assert [found(log, signer, signed=each) for each in (None, 30)] == [[(6, "checkpoints", "30")]] * 2
    tamper("DELETE FROM checkpoints WHERE size = 10")
    assert found(log, signer, signed=25) == [(6, "checkpoints", "10")], "only the last one"


def test_a_log_that_is_all_wrong_ends_early(log: Engine, signer: LogSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.audit.MAX_FINDINGS", 5)

    def all_wrong(leaf: StoredLeaf) -> Iterator[Finding]:
        yield Finding(check=99, table="leaves", row=str(leaf.index), text="wrong")

    with reading(log) as connection:
        report = audit_log(connection, signer.key, all_wrong)
    assert [each.row for each in report.findings if each.check == 99] == ["0", "1", "2", "3", "4", "5"]
