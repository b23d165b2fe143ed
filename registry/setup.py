"""Making a registry's directory: TLS key and certificate, database, configuration. Never overwrites anything."""

from __future__ import annotations

import os
from pathlib import Path

from registry import schema
from registry.database import Database
from registry.settings import FILE, Home, RegistryConfig, SetupError, dump
from registry.tls import make_certificate
from trust.printable import plainly


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
    migrate(home)
    _write(directory / FILE, dump(config).encode(), 0o644)
    return home


def migrate(home: Home) -> None:
    """Bring the database to this version's schema; makes it if it is not there. Its files are the owner's alone."""
    previous = os.umask(0o077)
    database = Database.open(home.database_url)
    try:
        schema.upgrade(database)
    finally:
        database.close()
        os.umask(previous)


def _refuse_existing(home: Home) -> None:
    for path in (home.directory / FILE, home.tls_key, home.tls_certificate, home.directory / home.config.database):
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
