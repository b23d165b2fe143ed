"""Opening the registry's database as it is: there, undamaged, of this version. Never makes or changes one."""

from __future__ import annotations

from registry import schema
from registry.database import Database
from registry.failures import DatabaseError
from registry.settings import Home, SetupError


def opened(url: str) -> Database:
    """The database of this URL, as yet without a connection; SetupError for a URL that cannot be used."""
    try:
        return Database.open(url)
    except DatabaseError as error:
        raise SetupError(str(error)) from error


def open_database(home: Home) -> Database:
    """The database, current and undamaged; SetupError otherwise."""
    if home.on_file and not (home.directory / home.config.database).exists():
        raise SetupError(
            f"{home.directory / home.config.database} is not there: restore it, or make an empty one: "
            f"station-registry migrate --dir {home.directory}"
        )
    database = opened(home.database_url)
    try:
        database.quick_check()
        schema.require_current(database)
    except DatabaseError as error:
        database.close()
        raise SetupError(str(error)) from error
    return database
