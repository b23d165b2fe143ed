"""Bringing the registry's database to this version's schema, by the packaged migrations, from inside the program.

Never changes the schema in passing: `serve` only asks whether it is current; `init` and `migrate` change it.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from registry.database import Database, Turn, take_turn
from registry.failures import DatabaseError


def upgrade(database: Database) -> None:
    """Run the migrations that are missing, all in one transaction; nothing to do is fine."""
    with database.write() as connection:
        take_turn(connection, Turn.MIGRATE)
        command.upgrade(_config(connection), "head")


def head() -> str | None:
    """The revision that this version needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def require_current(database: Database) -> None:
    """DatabaseError unless the schema is exactly this version's."""
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    wanted = head()
    if found != wanted:
        owner = "" if database.engine.dialect.name == "sqlite" else " --owner URL"
        command = f"station-registry migrate --dir DIR{owner}"
        if found is None:
            raise DatabaseError(f"the database has no tables yet: run {command}")
        text = f"database schema is {found}, this version needs {wanted}: make a backup, then run {command}"
        raise DatabaseError(text)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:registry")
    config.attributes["connection"] = connection
    return config
