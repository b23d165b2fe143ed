"""Empty databases as this version's migrations make them: migrated once a process, copied for each test.

A migration takes a quarter of a second, and most tests want a database of their own. Those that are about migrations, or
about how a database is made, run them.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

from registry import schema
from registry.database import Database, sqlite_url
from station.jobs.schema import open_database


def station_database(path: Path) -> None:
    """A new ledger with jobs and outbox, as the station makes it."""
    _copied(_made_by_station, path)


def registry_database(path: Path) -> None:
    """A new database of a registry on SQLite."""
    _copied(_made_by_registry, path)


def _copied(make: Callable[[Path], None], path: Path) -> None:
    data, mode = _made(make)
    assert not path.exists(), f"{path} is there already"
    path.write_bytes(data)
    path.chmod(mode)


@functools.cache
def _made(make: Callable[[Path], None]) -> tuple[bytes, int]:
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        path = Path(name) / "empty.db"
        make(path)
        return path.read_bytes(), path.stat().st_mode & 0o777


def _made_by_station(path: Path) -> None:
    open_database(path, create=True).dispose()


def _made_by_registry(path: Path) -> None:
    database = Database.open(sqlite_url(path))
    schema.upgrade(database)
    database.close()
