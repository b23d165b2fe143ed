"""What the triggers that refuse a row cost: a search in an index for each unique constraint, however many rows there are."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from registry import schema
from registry.database import Database, sqlite_url
from station.jobs.schema import open_database

_OR_INSIDE = (
    "CREATE TRIGGER reported_pins_no_replace BEFORE INSERT ON reported_pins WHEN EXISTS (SELECT 1 FROM reported_pins "
    "WHERE (station = NEW.station AND number = NEW.number) "
    "OR (station = NEW.station AND statement_sha256 = NEW.statement_sha256)) "
    "BEGIN SELECT RAISE(ABORT, 'there already'); END"
)


def registry_file(path: Path) -> None:
    database = Database.open(sqlite_url(path))
    schema.upgrade(database)
    database.close()


def station_file(path: Path) -> None:
    open_database(path, create=True).dispose()


@pytest.fixture(params=[registry_file, station_file], ids=["registry", "station"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "made.db"
    request.param(path)
    return path


def questions(opened: sqlite3.Connection) -> dict[str, str]:
    """What each trigger of an INSERT asks of the tables, as a query: one parameter a column of the new row."""
    found = {}
    for name, sql in opened.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        asked = re.fullmatch(r"CREATE TRIGGER \S+ BEFORE INSERT ON \S+ WHEN (.*) BEGIN .*", sql, re.DOTALL)
        if asked:
            columns = sorted(set(re.findall(r'NEW\."?(\w+)"?', asked[1])))
            found[name] = re.sub(r'NEW\."?(\w+)"?', lambda each, of=columns: f"?{of.index(each[1]) + 1}", asked[1])
    return found


def plan(opened: sqlite3.Connection, asked: str) -> list[str]:
    values = [None] * len(set(re.findall(r"\?\d+", asked)))
    steps = [row[3] for row in opened.execute(f"EXPLAIN QUERY PLAN SELECT {asked}", values)]
    return [each for each in steps if each.startswith(("SEARCH", "SCAN")) and each != "SCAN CONSTANT ROW"]


def whole_keys(opened: sqlite3.Connection, table: str) -> set[frozenset[str]]:
    """The columns of each unique constraint of the table."""
    rows = opened.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk").fetchall()
    found = {frozenset(name for (name,) in rows)}
    for (index,) in opened.execute(f"SELECT name FROM pragma_index_list('{table}') WHERE \"unique\"").fetchall():
        found.add(frozenset(name for (name,) in opened.execute(f"SELECT name FROM pragma_index_info('{index}')")))
    return found


def narrow(opened: sqlite3.Connection, step: str) -> bool:
    """Whether this step of a plan finds one row at most: by a whole key, or the end of an index."""
    searched = re.fullmatch(r"SEARCH (\w+)(?: USING [^(]*\((.*)\))?", step)
    if searched is None:
        return False
    if searched[2] is None:  # `max` of a table's first key
        return True
    columns = frozenset("".join(part.split("=")[0].split()) for part in searched[2].split(" AND "))
    rowid = columns == {"rowid"}
    return rowid or columns in whole_keys(opened, searched[1])


def test_every_trigger_of_an_insert_searches_by_whole_keys(migrated: Path) -> None:
    with closing(sqlite3.connect(migrated)) as opened:
        asked = questions(opened)
        assert len(asked) > 8
        wide = {name: plan(opened, each) for name, each in asked.items()}
        assert all(wide.values()), wide
        assert {name: steps for name, steps in wide.items() if not all(narrow(opened, each) for each in steps)} == {}


@pytest.fixture
def reported(tmp_path: Path) -> Callable[[int, bool], int]:
    """The steps of SQLite's machine that one more reported pin costs beside so many; by our trigger, or by an OR."""

    def cost(rows: int, ours: bool) -> int:
        path = tmp_path / f"{rows}-{ours}.db"
        registry_file(path)
        with closing(sqlite3.connect(path)) as opened:
            ((trigger,),) = opened.execute("SELECT sql FROM sqlite_schema WHERE name = 'reported_pins_no_replace'")
            opened.execute("DROP TRIGGER reported_pins_no_replace")
            pins = (("st-01", number, f"{number:064x}") for number in range(rows))
            opened.executemany("INSERT INTO reported_pins VALUES (?, ?, ?)", pins)
            opened.execute(trigger if ours else _OR_INSIDE)
            opened.execute("INSERT INTO reported_pins VALUES ('st-02', 1, 'first')")  # as each time: the schema is read
            steps: list[None] = []
            opened.set_progress_handler(lambda: steps.append(None), 1)
            opened.execute("INSERT INTO reported_pins VALUES ('st-01', ?, 'more')", (rows,))
            return len(steps)

    return cost


def test_a_reported_pin_costs_the_same_beside_many_as_beside_few(reported: Callable[[int, bool], int]) -> None:
    assert reported(20_000, True) <= reported(1000, True) + 10


def test_control_an_or_inside_reads_every_row_of_the_station(reported: Callable[[int, bool], int]) -> None:
    assert reported(20_000, False) > 15 * reported(1000, False)
