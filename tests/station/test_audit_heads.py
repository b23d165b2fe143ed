"""What binds a leaf that nobody signed: heads kept outside the ledger. The file's editor makes all of it sound in itself."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ledger.audit import KnownHead
from station.audit import audit
from station.jobs.leaf import parse_entry
from station.jobs.schema import open_database
from station.jobs.tables import STATE, DeliveryRow
from tests.registry.make import World, world
from tests.station import ledgerkit as kit
from trust.merkle import EMPTY_ROOT, Frontier, leaf_hash
from trust.signed_note import verify
from trust.statement import Event, envelope

Edit = Callable[[sqlite3.Connection], None]


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def template(made: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "station.db"
    kit.run(kit.busy_station(path, made))
    return path


@pytest.fixture(scope="module")
def heads(template: Path, made: World) -> list[KnownHead]:
    """Over 10 and 35 leaves, as an outsider has kept them."""
    key = kit.log_key(made)
    notes = [verify(note, key.name, key.spki) for (note,) in kit.rows(template, "SELECT note FROM checkpoints")]
    return [KnownHead(whose="a kept one", size=each.size, root_hash=each.root_hash) for each in notes]


def edited(template: Path, path: Path, *edits: Edit) -> Path:
    """The file after somebody's edits, every stored hash made right again and the triggers put back."""
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN")
        triggers = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for edit in edits:
            edit(database)
        rehash(database)
        for _, sql in triggers:
            database.execute(sql)
        database.execute("COMMIT")
    return path


def rehash(database: sqlite3.Connection) -> None:
    frontier = Frontier()
    for index, entry in database.execute('SELECT "index", entry FROM leaves ORDER BY "index"').fetchall():
        frontier = frontier.append(leaf_hash(entry))
        values = (leaf_hash(entry), frontier.to_bytes(), index)
        database.execute('UPDATE leaves SET leaf_hash = ?, frontier = ? WHERE "index" = ?', values)


def drop_checkpoints(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM checkpoints")
    database.execute("DELETE FROM checkpoint_intents")


def drop_the_last_checkpoint(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM checkpoints WHERE size = 35")
    database.execute("DELETE FROM checkpoint_intents WHERE size = 35")


def edit_a_verdict(database: sqlite3.Connection) -> None:
    for index, entry in database.execute('SELECT "index", entry FROM leaves').fetchall():
        body = parse_entry(entry).body
        if isinstance(body, Event) and body.kind == "verdict":
            said = msgspec.structs.replace(body, details={**body.details, "verdict": "FAIL"})
            values = (envelope(said).to_json(), index)
            database.execute('UPDATE leaves SET entry = ? WHERE "index" = ?', values)


def swap_the_orders(database: sqlite3.Connection) -> None:
    for one, other in ((0, 900), (1, 0), (900, 1)):
        database.execute('UPDATE leaves SET "index" = ? WHERE "index" = ?', (other, one))
        database.execute("UPDATE orders SET leaf_index = ? WHERE leaf_index = ?", (other, one))


def cut_at_the_first_checkpoint(database: sqlite3.Connection) -> None:
    drop_the_last_checkpoint(database)
    for table in reversed(STATE):
        column = "answer_leaf" if table is DeliveryRow else "leaf_index"
        database.execute(f"DELETE FROM {table.__tablename__} WHERE {column} >= 10")
    database.execute('DELETE FROM leaves WHERE "index" >= 10')


def found(path: Path, made: World, *known: KnownHead, signed: int | None = None) -> list[tuple[int, str, str]]:
    engine = open_database(path, read_only=True)
    try:
        findings = audit(engine, made.trusted, kit.STATION, known=known, signed=signed).findings
    finally:
        engine.dispose()
    return [(each.check, each.table, each.row) for each in findings]


EDITS = {
    "edited": (drop_checkpoints, edit_a_verdict),
    "reordered": (drop_checkpoints, swap_the_orders),
    "edited after the first checkpoint": (drop_the_last_checkpoint, edit_a_verdict),
    "cut": (cut_at_the_first_checkpoint,),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_ledger_rewritten_whole_is_found_by_a_head_kept_elsewhere(
    template: Path, tmp_path: Path, made: World, heads: list[KnownHead], name: str
) -> None:
    path = edited(template, tmp_path / "edited.db", *EDITS[name])
    # The control: without a head from outside, only the lack of any checkpoint can be seen.
    alone = [(16, "checkpoints", "-")] if drop_checkpoints in EDITS[name] else []
    assert found(path, made) == alone
    wanted = [(16, "leaves", "10")] if name == "cut" else [(16, "checkpoints", "35"), (16, "checkpoint_intents", "35")]
    assert found(path, made, heads[1]) == [*wanted, *alone]


def test_the_untouched_ledger_goes_on_from_all_of_its_heads(
    template: Path, made: World, heads: list[KnownHead]
) -> None:
    empty = KnownHead(whose="an empty log", size=0, root_hash=EMPTY_ROOT)
    assert found(template, made, *heads, empty) == []


def test_a_head_of_another_log(template: Path, made: World) -> None:
    other = KnownHead(whose="theirs", size=10, root_hash=b"x" * 32)
    assert found(template, made, other) == [(16, "checkpoints", "10")]
    nothing = KnownHead(whose="theirs", size=0, root_hash=b"x" * 32)
    assert found(template, made, nothing) == [(16, "checkpoints", "0")]


def test_dropped_checkpoints_alone(template: Path, tmp_path: Path, made: World, heads: list[KnownHead]) -> None:
    """Not a leaf was touched, and yet nothing binds them any more."""
    path = edited(template, tmp_path / "bare.db", drop_checkpoints)
    assert found(path, made) == [(16, "checkpoints", "-")]
    assert found(path, made, signed=0) == []  # the first batch, before its end
    assert (16, "checkpoint_intents", "35") in found(path, made, heads[1])
