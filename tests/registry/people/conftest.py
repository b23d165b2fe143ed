from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import schema
from registry.database import Database, sqlite_url
from tests.registry.people.crew import Crew


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("people") / "empty.db"
    database = Database.open(sqlite_url(path))
    schema.upgrade(database)
    database.close()
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path, migrated: bytes) -> Iterator[Database]:
    path = tmp_path / "registry.db"
    path.write_bytes(migrated)
    opened = Database.open(sqlite_url(path))
    yield opened
    opened.close()


@pytest.fixture
def crew(database: Database) -> Crew:
    return Crew.make(database)


@pytest.fixture
def rows(database: Database) -> Callable[[str], int]:
    def count(table: str) -> int:
        with database.read() as connection:
            return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()

    return count
