"""The file that the signer's memory is in: made once, opened, checked, written in transactions. Only user of sqlite3.

Created by `init` only, never by opening it: a signer without its counters would sign everything again. Never
restored from a backup: counts and log heads would run backwards. Never says what the rows mean.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from hsm.records import Owner
from hsm.schema import APPLICATION_ID, PRAGMAS, SCHEMA, VERSION
from trust.printable import plainly

_BUSY_TIMEOUT_S = 5.0


class StoreError(Exception):
    """The counters cannot be read or written; the text says what to do."""


def create(path: Path, owner: Owner) -> None:
    """A new counters file (0600); StoreError if there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = _connect(path)
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};{SCHEMA}COMMIT;"
        )
        connection.execute(
            "INSERT INTO owner VALUES (1, ?, ?, ?, ?)", (owner.role, owner.name, owner.environment, owner.keys_sha256)
        )
        connection.close()
    except FileExistsError as error:
        raise StoreError(f"{path} is there already: counters are never overwritten") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be made: {plainly(error)}") from error


class CounterFile:
    """An open counters file. Used by one thread at a time. Single statements commit alone unless inside `transaction`.

    After an I/O error nothing more is written: what the disk holds is unknown until the signer is started again.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._broken: str | None = None

    @classmethod
    def open(cls, path: Path, owner: Owner) -> Self:
        """Open and check the file; StoreError if it is missing, damaged, or another signer's."""
        if not path.is_file():
            raise StoreError(
                f"{path} is missing. It counts what this signer signed, so it is never made anew: find it, or retire "
                "this signer and make a new one (station-signer init) with new keys in the trust root"
            )
        try:
            connection = _connect(path)
            _check(path, connection, owner)
        except sqlite3.Error as error:
            raise StoreError(
                f"{path}: {error}: do not repair it by hand, retire this signer and make a new one"
            ) from error
        return cls(path, connection)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it ends (BEGIN IMMEDIATE: the check and the count it guards are one step)."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One request of several in a transaction: when it ends with an exception, nothing of it stays."""
        self.run("SAVEPOINT request")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # SQLite may have rolled back the whole transaction already
                self.run("ROLLBACK TO request")
                self.run("RELEASE request")
            raise
        self.run("RELEASE request")

    def run(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """One statement; StoreError."""
        if self._broken is not None:
            raise StoreError(self._broken)
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            self._broken = f"{self._path}: {error}: the signer signs nothing more; check the disk, then start it again"
            return StoreError(self._broken)
        return StoreError(f"{self._path}: {error}: nothing was counted; free disk space or see who holds the file")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                self._failed(error)


@contextmanager
def looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """The file for reading alone, also beside the signer that writes it; StoreError. Keep no query open for long."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreError(f"{path} is no counters file of a signer: name the signer's directory")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}: name the signer's directory, as the signer's user") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    for name, (value, reads_back) in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != reads_back:  # several silently keep their default
            raise sqlite3.OperationalError(f"PRAGMA {name} is {found!r}, wanted {value}")
    return connection


def _check(path: Path, connection: sqlite3.Connection, owner: Owner) -> None:
    marks = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version", "quick_check")
    ]
    if marks != [APPLICATION_ID, VERSION, "ok"]:
        raise StoreError(
            f"{path} is not a sound counters file of version {VERSION} (found {marks}): retire this signer"
        )
    columns = ("role", "name", "environment", "keys_sha256")
    row = connection.execute(f"SELECT {', '.join(columns)} FROM owner").fetchone()  # noqa: S608 - constant text
    found = Owner(**dict(zip(columns, row, strict=True)))
    if found != owner:
        raise StoreError(
            f"{path} is of {found.role} signer {found.name} ({found.environment}) with keys {found.keys_sha256[:16]}…; "
            f"this one is {owner.role} {owner.name} ({owner.environment}) with {owner.keys_sha256[:16]}…: use its own"
        )
