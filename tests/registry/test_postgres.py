"""Which PostgreSQL a registry takes: one that keeps what it has committed, reached in a way that nobody listens to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import DBAPIError

from registry import postgres as module
from registry import rights, setup
from registry.alone import alone
from registry.cli import cli
from registry.database import Database
from registry.failures import DatabaseError
from registry.opening import open_database, opened
from registry.settings import Home, RegistryConfig, SetupError
from tests.registry.postgres import OWNER, Server

GOOD = (15, "on", "on", "on", False, "off", "on", "UTF8", True)


def home(directory: Path, database: str) -> Home:
    return Home(directory, RegistryConfig(name="registry-01", environment="demo", database=database))


@pytest.fixture
def name(postgres: Server) -> str:
    return postgres.migrated()


def refusal(url: str, directory: Path) -> str:
    with pytest.raises(SetupError) as caught:
        open_database(home(directory, url))
    return str(caught.value)


def test_a_server_that_keeps_its_word_is_taken(postgres: Server, name: str, tmp_path: Path) -> None:
    open_database(home(tmp_path, postgres.url(name))).close()


@pytest.mark.parametrize(
    ("place", "value", "remedy"),
    [
        (0, 12, "use PostgreSQL 13 or newer"),
        (1, "off", "set fsync = on"),
        (2, "off", "set full_page_writes = on"),
        (3, "off", "pg_checksums --enable"),
        (4, True, "target_session_attrs=read-write"),
        (5, "on", "set default_transaction_read_only = off"),
        (6, "off", "set it to on or remote_apply"),
        (6, "local", "set it to on or remote_apply"),
        (6, "remote_write", "set it to on or remote_apply"),
        (7, "SQL_ASCII", "--encoding UTF8"),
        (8, False, "--locale C"),
    ],
)
def test_each_rule_has_its_remedy(place: int, value: object, remedy: str) -> None:
    assert module.problem(GOOD) is None
    found = module.problem((*GOOD[:place], value, *GOOD[place + 1 :]))
    assert found is not None and remedy in found


@pytest.fixture
def set_for_all(postgres: Server) -> Iterator[None]:
    yield
    postgres.sql("ALTER SYSTEM RESET ALL")
    postgres.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("setting", "value"), [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")]
)
def test_a_server_that_may_lose_is_refused(
    setting: str, value: str, postgres: Server, name: str, set_for_all: None, tmp_path: Path
) -> None:
    postgres.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
    postgres.sql("SELECT pg_reload_conf()")
    while postgres.sql(f"SHOW {setting}") != [(value,)]:
        pass
    assert setting in refusal(postgres.url(name), tmp_path)


@pytest.mark.parametrize(
    ("setting", "value"), [("synchronous_commit", "local"), ("default_transaction_read_only", "on")]
)
def test_a_setting_of_the_database_alone_is_noticed(
    setting: str, value: str, postgres: Server, name: str, tmp_path: Path
) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    assert setting in refusal(postgres.url(name), tmp_path)


def test_each_new_connection_is_asked_and_not_the_first_alone(postgres: Server, name: str) -> None:
    database = Database.open(postgres.url(name))
    database.quick_check()
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = 'off'")
    database.quick_check()  # this session began before
    postgres.sql(f"SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = '{name}'")
    with pytest.raises(DatabaseError, match="synchronous_commit"):
        database.quick_check()
    database.close()


def test_what_a_cluster_is_made_as_is_noticed(tmp_path: Path) -> None:
    """No checksums; then, with them, a standby: two starts of a server of the test's own."""
    server = Server.make(checksums=False)
    try:
        server.start()
        assert "pg_checksums --enable" in refusal(server.url("postgres"), tmp_path)
        server.end()
        server.run("pg_checksums", "--enable", "--no-sync", "-D", str(server.data))
        standby = server.data / "standby.signal"
        standby.touch()
        server.start()
        assert "is a standby" in refusal(server.url("postgres"), tmp_path)
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("ENCODING 'SQL_ASCII' LOCALE 'C'", "keeps this database in SQL_ASCII"),
        ("LOCALE 'C' ICU_LOCALE 'en' LOCALE_PROVIDER icu", "language"),
    ],
    ids=["encoding", "order"],
)
def test_a_database_that_reads_or_sorts_otherwise_is_refused(
    options: str, remedy: str, postgres: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = f"other_{request.node.callspec.id}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    found = refusal(postgres.url(name), tmp_path)
    assert remedy in found and "createdb" in found


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://registry@/registry", "give a file, or postgresql"),
        ("postgresql://registry@/registry", "give a file, or postgresql"),
        ("postgresql+psycopg2://registry@/registry", "give a file, or postgresql"),
        ("://", "not a URL"),
        ("postgresql+psycopg://registry:secret@/registry", "passfile="),
        ("postgresql+psycopg://registry@/registry?password=secret", "passfile="),
        ("postgresql+psycopg://registry@db.example/registry", "sslmode=verify-full"),
        ("postgresql+psycopg://registry@db.example/registry?sslmode=require", "sslmode=verify-full"),
        ("postgresql+psycopg://registry@/registry?host=10.0.0.7:5432", "sslmode=verify-full"),
        ("postgresql+psycopg://registry@/registry?host=localhost&host=db.example", "sslmode=verify-full"),
        ("postgresql+psycopg://registry@localhost/registry?hostaddr=10.0.0.7", "sslmode=verify-full"),
    ],
)
def test_a_url_that_is_not_safe_is_refused_before_anybody_is_asked(url: str, remedy: str) -> None:
    with pytest.raises(SetupError, match="database: ") as caught:
        opened(url)
    assert remedy in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://registry@/registry",
        "postgresql+psycopg://registry@/registry?host=/run/postgresql",
        "postgresql+psycopg://registry@127.0.0.1:5433/registry",
        "postgresql+psycopg://registry@[::1]/registry",
        "postgresql+psycopg://registry@/registry?host=a.example:5432&host=b.example:5432&sslmode=verify-full",
    ],
)
def test_a_url_that_is_safe_is_taken(url: str) -> None:
    opened(url).close()


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    found = refusal(f"postgresql+psycopg://registry@/registry?host={tmp_path}", tmp_path)
    assert "cannot be reached" in found and "start its server" in found and "\n" not in found


def test_a_machine_that_vanishes_is_noticed_by_who_only_waits() -> None:
    """A commit that waits for the standby has nothing unacknowledged: without these its connection would hang 2 h."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    server = Server.make(listen_addresses="127.0.0.1", port=str(port))
    try:
        server.start()
        database = Database.open(f"{module.DRIVER}://{OWNER}@127.0.0.1:{port}/{server.migrated()}")
        with database.read() as connection:
            dbapi: Any = connection.connection.dbapi_connection
            found = socket.socket(fileno=os.dup(dbapi.fileno()))
        with found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 2
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        database.close()
    finally:
        server.remove()


@pytest.mark.parametrize("patient", [True, False])
def test_only_who_serves_bounds_how_long_a_statement_takes(patient: bool, postgres: Server, name: str) -> None:
    """Else no database of a million devices could be verified, or get an index. `False` is the control."""
    postgres.sql(f"ALTER DATABASE {name} SET statement_timeout = '1h'")
    database = Database.open(postgres.url(name), patient=patient)
    with database.read() as connection:
        found = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
    database.close()
    assert (found == "0") is patient


# ---- rights


@pytest.fixture
def served(postgres: Server, name: str, tmp_path: Path) -> str:
    """The URL of a role that the owner has granted what serving needs."""
    role = f"serving_{name}"
    postgres.sql(f"CREATE ROLE {role} LOGIN")
    setup.migrate(home(tmp_path, postgres.url(name, role)), postgres.url(name))
    return postgres.url(name, role)


TRIES = [
    "UPDATE pins SET station = station",
    "DELETE FROM pins",
    "TRUNCATE pins CASCADE",
    "ALTER TABLE pins DISABLE TRIGGER ALL",
    "DROP TRIGGER pins_no_update ON pins",
    "DROP TABLE receipts",
    "CREATE TABLE public.mine (x int)",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "DELETE FROM station_counts",
    "UPDATE alembic_version SET version_num = '0000'",
    "INSERT INTO pins SELECT * FROM pins ON CONFLICT (device_id) DO UPDATE SET station = 'x'",
    "SET session_replication_role = replica",
    "SET fsync = off",
]


@pytest.mark.parametrize("statement", TRIES)
def test_the_role_that_serves_may_not(statement: str, served: str) -> None:
    database = Database.open(served)
    with pytest.raises(DBAPIError) as caught, database.write() as connection:
        connection.exec_driver_sql(statement)
    database.close()
    assert getattr(caught.value.orig, "sqlstate", None) in {"42501", "55P02", "42P16"}, caught.value


def test_control_the_owner_may_do_most_of_it(postgres: Server, name: str) -> None:
    """So it is the role's rights that refuse, and the triggers only what is left."""
    database = Database.open(postgres.url(name))
    for statement in TRIES[3:9]:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(statement)
    database.close()


def test_migrating_again_takes_away_what_was_granted_by_hand(
    served: str, postgres: Server, name: str, tmp_path: Path
) -> None:
    role = f"serving_{name}"
    postgres.sql(f"GRANT ALL ON pins TO {role}; GRANT UPDATE ON receipts TO PUBLIC", name)
    assert beyond(served) == ["pins", "receipts"]
    setup.migrate(home(tmp_path, served), postgres.url(name))
    assert beyond(served) == []
    assert "pins" in beyond(postgres.url(name, OWNER))


def test_a_role_that_may_more_is_served_with_a_warning(served: str, postgres: Server, name: str) -> None:
    for url, warned in ((served, False), (postgres.url(name), True)):
        database = Database.open(url)
        said = rights.warning(database.engine)
        database.close()
        assert bool(said) is warned
        assert not warned or (f"role {OWNER} may change or remove" in said and "migrate --owner" in said)


def test_as_many_processes_as_one_likes_serve_one_directory_of_a_server(postgres: Server, tmp_path: Path) -> None:
    """With SQLite a second one is refused: test_serving.py::test_a_second_server_of_a_directory_is_refused."""
    place = home(tmp_path, postgres.url("postgres"))
    with alone(place), alone(place):
        assert not (tmp_path / "serving.lock").exists()


def beyond(url: str) -> list[str]:
    database = Database.open(url)
    try:
        return sorted(each for each in rights.beyond(database.engine) if each in {"pins", "receipts"})
    finally:
        database.close()


def test_init_and_migrate_with_a_server(postgres: Server, tmp_path: Path) -> None:
    """As docs/deployment.md has it: init for the role that serves, migrate as the owner, then everything is there."""
    name = postgres.empty()
    postgres.sql(f"CREATE ROLE init_{name} LOGIN")
    place = tmp_path / "registry"
    url = postgres.url(name, f"init_{name}")

    def run(*argv: str) -> tuple[int, str]:
        found = CliRunner().invoke(cli, [*argv, "--dir", str(place)])
        return found.exit_code, found.stderr

    made = run("init", "--name", "registry-01", "--environment", "demo", "--host", "localhost", "--database", url)
    assert made[0] == 0, made
    code, said = run("user", "list")
    assert code == 2 and "migrate" in said
    code, said = run("migrate")
    assert code == 2 and "permission denied" in said and "--owner" in said
    assert run("migrate", "--owner", postgres.url(name))[0] == 0
    assert run("user", "list")[0] == 0
    assert not (place / "registry.db").exists()
