"""What the console says when the database fails it: one line with what to do next, exit code 2, and no value of a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from registry import failures, setup
from registry.cli import cli
from registry.database import Database
from registry.opening import open_to_serve
from registry.settings import Home, RegistryConfig, SetupError
from registry.tables import credentials
from tests.registry.living import WHO, living
from tests.registry.postgres import Server
from tests.trust.people import approved_by, file_of
from trust.root_file import wrap

SECRETS = {"user_id": "ab" * 16, "password": "argon2-of-it", "floor_password": "f", "totp_secret": "JBSWY3DP"}


@pytest.fixture
def name(postgres: Server) -> str:
    return postgres.migrated()


@pytest.fixture
def place(tmp_path: Path, postgres: Server, name: str) -> Path:
    """A registry's directory whose database is on the server, and a root file beside it."""
    return made(tmp_path, postgres.url(name))


def made(tmp_path: Path, url: str) -> Path:
    place = tmp_path / "registry"
    setup.make(place, RegistryConfig(name="registry-01", environment="demo", database=url), "localhost")
    return place


@pytest.fixture
def root(tmp_path: Path, database: Database) -> Path:
    trusted = living(database).made.trusted
    path = tmp_path / "root.json"
    path.write_bytes(file_of(approved_by(wrap(trusted.root), WHO["ada"], WHO["ben"])))
    return path


def plain(postgres: Server, name: str) -> str:
    """The URL of a role that may connect, and nothing else."""
    if not postgres.sql("SELECT 1 FROM pg_roles WHERE rolname = 'plain'"):
        postgres.sql("CREATE ROLE plain LOGIN")
    return postgres.url(name, "plain")


def run(place: Path, *words: object) -> Result:
    found = CliRunner().invoke(cli, [*map(str, words), "--dir", str(place)])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.stderr.count("\n") == 1 and found.stderr.startswith("station-registry: "), found.stderr
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def failing(request: pytest.FixtureRequest, database: Database, postgres: Server, name: str) -> Iterator[Database]:
    opened = database if request.param == "sqlite" else Database.open(postgres.url(name))
    yield opened
    if opened is not database:
        opened.close()


def test_a_statement_that_failed_tells_no_value(failing: Database) -> None:
    """As anybody would see it in a traceback: no password's hash, and no secret."""
    with pytest.raises(DBAPIError) as caught, failing.write() as connection:
        connection.execute(insert(credentials), {**SECRETS, "last_step": 0, "badge": None})
    told = f"{caught.value}{caught.value!r}{failures.told(caught.value)}"
    assert "INSERT INTO credentials" in told
    assert not [each for each in SECRETS.values() if len(each) > 1 and each in told.replace(SECRETS["user_id"], "")]


def test_control_it_would_tell_them_if_it_were_not_asked_not_to(failing: Database) -> None:
    failing.engine.hide_parameters = False
    with pytest.raises(DBAPIError, match="JBSWY3DP"), failing.write() as connection:
        connection.execute(insert(credentials), {**SECRETS, "last_step": 0, "badge": None})


def test_a_lock_that_another_holds(postgres: Server, name: str, place: Path) -> None:
    with postgres.connect(name) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE credentials IN ACCESS EXCLUSIVE MODE")
        found = run(place, "user", "add", "--role", "auditor")
    assert found.exit_code == 2
    assert "keeps the database busy" in found.stderr and "try again" in found.stderr


@pytest.mark.parametrize("words", [("user", "list"), ("pin", "show", "ab" * 12), ("check",)], ids=" ".join)
def test_a_role_without_rights(words: tuple[str, ...], postgres: Server, name: str, tmp_path: Path, root: Path) -> None:
    """As after a migration by the owner that granted nothing."""
    place = made(tmp_path, plain(postgres, name))
    found = run(place, *words, *(() if words[0] == "user" else ("--root", root)))
    assert found.exit_code == 2
    assert "migrate --dir DIR --owner URL" in found.stderr


@pytest.mark.parametrize("words", [("user", "list"), ("migrate",)], ids=" ".join)
def test_a_server_that_is_down(words: tuple[str, ...], tmp_path: Path) -> None:
    place = made(tmp_path, f"postgresql+psycopg://registry@/registry?host={tmp_path}")
    found = run(place, *words)
    assert found.exit_code == 2
    assert "cannot be reached" in found.stderr and "start its server" in found.stderr
    assert "--owner" not in found.stderr


def test_a_migration_that_others_keep_from_its_locks_is_not_told_to_get_rights(
    postgres: Server, name: str, place: Path
) -> None:
    with postgres.connect(name) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        found = run(place, "migrate")
    assert found.exit_code == 2
    assert "wants every registry stopped" in found.stderr and "--owner" not in found.stderr


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    place = tmp_path / "registry"
    home = setup.make(place, RegistryConfig(name="registry-01", environment="demo"), "localhost")
    (place / home.config.database).write_bytes(b"no database" * 1000)
    found = run(place, "user", "list")
    assert found.exit_code == 2
    assert "restore the last backup" in found.stderr


def test_a_file_that_is_busy_is_not_called_damaged(tmp_path: Path) -> None:
    place = tmp_path / "registry"
    home = setup.make(place, RegistryConfig(name="registry-01", environment="demo"), "localhost")
    with closing(sqlite3.connect(place / home.config.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = run(place, "user", "list")
    assert found.exit_code == 2
    assert "busy" in found.stderr and "damaged" not in found.stderr


def test_who_would_serve_is_refused_in_one_line_too(
    postgres: Server, name: str, tmp_path: Path, database: Database
) -> None:
    place = made(tmp_path, plain(postgres, name))
    with pytest.raises(SetupError, match="migrate --dir DIR --owner URL"):
        open_to_serve(Home.load(place), living(database).made.trusted)
