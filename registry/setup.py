"""Making a registry's directory: TLS key and certificate, database, configuration. Never overwrites anything."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from registry import rights, schema
from registry.failures import DatabaseError, first_line
from registry.opening import opened
from registry.postgres import role_of
from registry.settings import FILE, Home, RegistryConfig, SetupError, dump
from registry.tls import make_certificate
from trust.printable import plainly

_AS_OWNER = "a server's tables are made by the role that owns the database: give its URL with --owner"


def make(directory: Path, config: RegistryConfig, host: str) -> Home:
    """Make it; SetupError if any of its files is there. The configuration comes last: without it nothing starts."""
    home = Home(directory, config)
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{directory} cannot be made: {plainly(error)}: choose another --dir") from error
    _refuse_existing(home)
    key, certificate = make_certificate(host, config.name)
    _write(home.tls_key, key, 0o600)
    _write(home.tls_certificate, certificate, 0o644)
    if home.on_file:
        migrate(home)
    _write(directory / FILE, dump(config).encode(), 0o644)
    return home


def migrate(home: Home, owner: str | None = None) -> None:
    """Bring the database to this version's schema; a SQLite file is made if it is not there, its owner's alone.

    `owner` is the URL of the role to whom a server's tables belong; the role of registry.toml gets the rights that the
    registry needs, and no more.
    """
    previous = os.umask(0o077)
    database = opened(owner or home.database_url)
    try:
        schema.upgrade(database)
        if owner is not None:
            rights.grant(database, role_of(home.database_url))
    except DBAPIError as error:
        raise SetupError(f"the database was not changed: {first_line(error)}: {_AS_OWNER}") from error
    except DatabaseError as error:
        raise SetupError(str(error)) from error
    finally:
        database.close()
        os.umask(previous)


def _refuse_existing(home: Home) -> None:
    files = [home.directory / FILE, home.tls_key, home.tls_certificate]
    for path in [*files, home.directory / home.config.database] if home.on_file else files:
        if path.exists():
            raise SetupError(
                f"{path} is there already: nothing was changed; use another --dir, or move it away yourself"
            )


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
