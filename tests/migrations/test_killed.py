"""A migration that is killed at any of its statements: what is there then is the old schema or the new, and it goes on.

On both databases, from nothing and from each revision that was released. The process that migrates is really killed.
Negative control: a migration that commits on its way leaves neither.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, make_url

from registry import schema
from registry.database import Database, Turn, sqlite_url, take_turn
from registry.tables import metadata
from tests.registry.postgres import Server

pytestmark = pytest.mark.timeout(120)
REVISIONS = [each.revision for each in ScriptDirectory.from_config(schema._config()).walk_revisions()][::-1]


Place = Callable[[str], str]
"""Makes a new database that stands at a revision, and gives its URL."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return lambda revision: _file(tmp_path, revision)
    server: Server = request.getfixturevalue("postgres")
    templates: dict[str, str] = {}

    def copy(revision: str) -> str:
        if revision not in templates:
            templates[revision] = server.empty()
            upgrade(server.url(templates[revision]), revision)
        return server.url(server.empty(templates[revision]))

    return copy


def _file(place: Path, revision: str) -> str:
    path = Path(tempfile.mkdtemp(dir=place)) / "registry.db"
    upgrade(sqlite_url(path), revision)
    return sqlite_url(path)


def upgrade(url: str, revision: str) -> None:
    """To this revision and no further."""
    if revision == "base":
        return
    database = Database.open(url)
    migrate(database, revision)
    database.close()


def statements(url: str, target: str = "head") -> list[str]:
    """What a migration of this database to there executes, in order."""
    found: list[str] = []
    database = Database.open(url)
    event.listen(database.engine, "before_cursor_execute", lambda *args: found.append(args[2]))
    migrate(database, target)
    database.close()
    return found


def migrate(database: Database, target: str) -> None:
    """As `schema.upgrade` does it, and no further than there."""
    with database.write() as connection:
        take_turn(connection, Turn.MIGRATE)
        command.upgrade(schema._config(connection), target)


def migrate_and_be_killed(url: str, number: int, target: str = "head", *, commits: bool = False) -> None:
    """In a child: migrate, and be killed before statement `number`; after the last one, before the commit."""
    child = os.fork()
    if child:
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        return
    try:
        count = iter(range(1_000_000))

        def reached(connection: Connection, *_: Any) -> None:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if commits:
                connection.connection.commit()

        database = Database.open(url)
        event.listen(database.engine, "before_cursor_execute", reached)
        event.listen(database.engine, "commit", reached)
        migrate(database, target)
    finally:
        os._exit(3)


def state(url: str) -> tuple[str, tuple[str, ...]]:
    """The revision that the database says, and its tables: asked without any code of ours."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        opened: Any = sqlite3.connect(parsed.database or "")
        names = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    else:
        opened = psycopg.connect(host=str(parsed.query["host"]), dbname=parsed.database, user=parsed.username)
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    with closing(opened):
        tables = {name for (name,) in opened.execute(names).fetchall()}
        versioned = "alembic_version" in tables
        rows = opened.execute("SELECT * FROM alembic_version").fetchall() if versioned else []
    return (rows[0][0] if rows else "base"), tuple(sorted(tables - {"alembic_version"}))


def everything(url: str) -> Iterator[object]:
    """The schema as the database tells it."""
    database = Database.open(url)
    schema.require_current(database)
    sqlite = database.engine.dialect.name == "sqlite"
    triggers = (
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        if sqlite
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    )
    with database.read() as connection:
        yield sorted(connection.exec_driver_sql(triggers).scalars())
    asked = inspect(database.engine)
    for table in sorted(metadata.tables):
        yield table, asked.get_columns(table), asked.get_indexes(table), asked.get_unique_constraints(table)
    database.close()


@pytest.mark.parametrize("revision", ["base", *REVISIONS[:-1]])
def test_killed_at_each_statement_it_is_as_before_and_goes_on(revision: str, place: Place) -> None:
    """Of the revision that follows; that several are one transaction is the next test's."""
    target = [*REVISIONS, "head"][0 if revision == "base" else REVISIONS.index(revision) + 1]
    number_of = len(statements(place(revision), target))
    whole = place("base")
    upgrade(whole, "head")
    wanted = [str(each) for each in everything(whole)]
    assert number_of > 3
    url = place(revision)
    before = state(url)
    for number in range(number_of + 1):  # each goes on from what the one before has left
        migrate_and_be_killed(url, number, target)
        assert state(url) == before, f"statement {number}"
    upgrade(url, "head")
    assert [str(each) for each in everything(url)] == wanted


def test_killed_anywhere_between_nothing_and_now_there_is_nothing(place: Place) -> None:
    url = place("base")
    number_of = len(statements(place("base")))
    for number in (*range(0, number_of, 17), number_of):
        migrate_and_be_killed(url, number)
        assert state(url) == ("base", ()), f"statement {number}"
    upgrade(url, "head")
    assert list(everything(url))


def test_control_a_migration_that_commits_on_its_way_leaves_neither(place: Place) -> None:
    url = place("base")
    migrate_and_be_killed(url, 12, commits=True)
    revision, tables = state(url)
    assert 0 < len(tables) < len(metadata.tables) and revision == "base"


def test_two_that_migrate_at_once_make_one_schema(place: Place) -> None:
    url = place("base")
    children: list[int] = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                database = Database.open(url)
                schema.upgrade(database)
                database.close()
                os._exit(0)
            finally:
                os._exit(3)
        children.append(child)
    assert [os.waitpid(each, 0)[1] for each in children] == [0, 0, 0]
    assert list(everything(url))
