"""Opening the registry's database as it is: there, undamaged, of this version. Never makes or migrates one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from registry import schema
from registry.database import Database
from registry.failures import STORE_FAILED, DatabaseError, told
from registry.roots import take_up
from registry.settings import Home, SetupError
from trust.root import TrustedRoot


def opened(url: str, *, patient: bool = False) -> Database:
    """The database of this URL, as yet without a connection; SetupError for a URL that cannot be used."""
    try:
        return Database.open(url, patient=patient)
    except DatabaseError as error:
        raise SetupError(str(error)) from error


def open_database(home: Home, *, patient: bool = False) -> Database:
    """The database, answering and current; SetupError otherwise. `patient`: as `Database.open` has it."""
    if home.on_file and not (home.directory / home.config.database).exists():
        raise SetupError(
            f"{home.directory / home.config.database} is not there: restore it, or make an empty one: "
            f"station-registry migrate --dir {home.directory}"
        )
    database = opened(home.database_url, patient=patient)
    with _closed_if_unfit(database):
        database.require_answer()
        schema.require_current(database)
    return database


def open_to_serve(home: Home, trusted: TrustedRoot) -> Database:
    """As `open_database`, undamaged, and no newer root was ever served from it.

    A SQLite file is read as a whole, while nobody is served from it yet.
    """
    database = open_database(home)
    with _closed_if_unfit(database):
        database.quick_check()
        take_up(database, trusted)
    return database


@contextmanager
def _closed_if_unfit(database: Database) -> Iterator[None]:
    try:
        yield
    except STORE_FAILED as error:
        database.close()
        raise SetupError(told(error)) from error
    except SetupError:
        database.close()
        raise
