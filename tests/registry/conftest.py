from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import schema
from registry.database import Database, sqlite_url
from registry.pins.service import PinService
from tests.registry.make import SoftwareReceiptSigner, World, world
from tests.registry.postgres import Server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database file as the migrations make it: migrated once, copied for each test."""
    path = tmp_path_factory.mktemp("registry") / "empty.db"
    database = Database.open(sqlite_url(path))
    schema.upgrade(database)
    database.close()
    return path.read_bytes()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `both_databases` has its `database` on SQLite and on PostgreSQL."""
    if metafunc.definition.get_closest_marker("both_databases") and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, migrated: bytes) -> Iterator[Database]:
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        url = server.url(server.migrated())
    else:
        path = tmp_path / "registry.db"
        path.write_bytes(migrated)
        url = sqlite_url(path)
    opened = Database.open(url)
    yield opened
    opened.close()


@pytest.fixture
def made() -> World:
    return world()


@pytest.fixture
def signer(made: World) -> SoftwareReceiptSigner:
    return made.signer()


@pytest.fixture
def service(database: Database, made: World, signer: SoftwareReceiptSigner) -> PinService:
    return PinService(database, made.trusted, signer)


@pytest.fixture
def rows(database: Database) -> Callable[[str], int]:
    def count(table: str) -> int:
        with database.read() as connection:
            return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()

    return count
