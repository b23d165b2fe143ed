"""Opening the station's database at exactly this version's schema.

A new file is made and an older schema brought up by the packaged migrations, all in one transaction; a newer schema is
refused. Alembic is loaded only when there is something to do: the command line starts often.
"""

from __future__ import annotations

from pathlib import Path

from ledger.engine import Connection, Engine, open_engine, open_snapshot, reading, writing
from ledger.faults import StoreError

APPLICATION_ID = 0x4B535401
SCHEMA_VERSION = 4


def open_database(path: Path, *, read_only: bool = False, create: bool = False) -> Engine:
    """The station's database at this version's schema. Raises StoreError saying what to do.

    Read-only never changes the schema: the station itself must have been started once with this version.
    """
    engine = open_engine(path, application_id=APPLICATION_ID, read_only=read_only, create=create)
    try:
        _require(path, _version(engine), upgradable=not read_only)
        if not read_only:
            upgrade(engine)
    except StoreError:
        engine.dispose()
        raise
    return engine


def open_copy(path: Path) -> Engine:
    """A copy of the station's database, to read all of it during a shift; as read-only otherwise. Raises StoreError."""
    engine = open_snapshot(path, application_id=APPLICATION_ID)
    try:
        _require(path, _version(engine), upgradable=False)
    except StoreError:
        engine.dispose()
        raise
    return engine


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, in one transaction; nothing to do is the usual case and costs one read."""
    if _version(engine) == SCHEMA_VERSION:
        return
    with writing(engine) as connection:
        migrate(connection)


def _version(engine: Engine) -> int:
    with reading(engine) as connection:
        version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        return version


def _require(path: Path, found: int, *, upgradable: bool) -> None:
    if found > SCHEMA_VERSION:
        raise StoreError(f"{path} has schema {found}, this version knows {SCHEMA_VERSION}: install the newer version")
    if found < SCHEMA_VERSION and not upgradable:
        raise StoreError(f"{path} has schema {found}, not {SCHEMA_VERSION}: start the station once, then read again")


def migrate(connection: Connection) -> None:
    """Run the packaged migrations on this connection, in its transaction."""
    from alembic import command  # noqa: PLC0415 - slow to load, needed once a version
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "migrations:station")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
