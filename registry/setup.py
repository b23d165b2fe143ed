"""Making a registry's directory: TLS key and certificate, database, configuration. Never overwrites anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from registry import rights, schema
from registry.failures import STORE_FAILED, DatabaseError, first_line, is_refused, told
from registry.opening import opened
from registry.postgres import role_of
from registry.settings import FILE, Home, RegistryConfig, SetupError, dump
from registry.tls import make_certificate
from trust.printable import plainly

_AS_OWNER = "a server's tables are made by the role that owns the database: give its URL with --owner"


def make(directory: Path, config: RegistryConfig, host: str) -> Home:
    """Make it; SetupError if any of its files is there. The configuration comes last: without it nothing starts.

    What is made before something fails is taken back, so that the corrected command finds nothing in its way.
    """
    home = Home(directory, config)
    _require_usable(home)
    with ExitStack() as undo:
        _make_directory(directory, undo)
        _refuse_existing(home)
        try:
            _fill(home, host, undo)
        except (OSError, ValueError) as error:
            raise SetupError(f"registry not made, what was begun is removed again: {plainly(error)}") from error
        undo.pop_all()
    return home


def _require_usable(home: Home) -> None:
    """SetupError for a database that no registry may use: before it stands in a file that others may read."""
    if home.on_file:
        return
    if home.database_url.startswith("sqlite"):
        raise SetupError("database: give a SQLite file by its path in the directory, not by a URL")
    opened(home.database_url).close()
    try:
        role_of(home.database_url)
    except DatabaseError as error:
        raise SetupError(str(error)) from error


def _make_directory(directory: Path, undo: ExitStack) -> None:
    new = not directory.exists()
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{directory} cannot be made: {plainly(error)}: choose another --dir") from error
    if new:
        undo.callback(_forget, directory.rmdir)


def _fill(home: Home, host: str, undo: ExitStack) -> None:
    key, certificate = make_certificate(host, home.config.name)
    _write(home.tls_key, key, 0o600, undo)
    _write(home.tls_certificate, certificate, 0o644, undo)
    if home.on_file:
        database = home.directory / home.config.database
        for each in (database, database.with_name(f"{database.name}-journal")):
            undo.callback(_forget, each.unlink)
        migrate(home)
    _write(home.directory / FILE, dump(home.config).encode(), 0o644, undo)


def _forget(remove: Callable[[], None]) -> None:
    with suppress(OSError):  # what stopped us may stop this, too; the first reason is the one to tell
        remove()


def migrate(home: Home, owner: str | None = None) -> None:
    """Bring the database to this version's schema; a SQLite file is made if it is not there, its owner's alone.

    `owner` is the URL of the role to whom a server's tables belong; the role of registry.toml gets the rights that the
    registry needs, and no more.
    """
    previous = os.umask(0o077)
    database = opened(owner or home.database_url, patient=True)
    try:
        schema.upgrade(database)
        if owner is not None:
            rights.grant(database, role_of(home.database_url))
    except STORE_FAILED as error:
        raise SetupError(_unchanged(error)) from error
    finally:
        database.close()
        os.umask(previous)


def _unchanged(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        if is_refused(error):
            return f"the database was not changed: {first_line(error)}: {_AS_OWNER}"
        return f"the database was not changed: {told(error)}"
    return told(error)


def _refuse_existing(home: Home) -> None:
    files = [home.directory / FILE, home.tls_key, home.tls_certificate]
    for path in [*files, home.directory / home.config.database] if home.on_file else files:
        if path.exists():
            raise SetupError(
                f"{path} is there already: nothing was changed; use another --dir, or move it away yourself"
            )


def _write(path: Path, data: bytes, mode: int, undo: ExitStack) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    undo.callback(_forget, path.unlink)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
