"""The signer's memory on disk: orders, challenges, what was signed, how much. The only user of stdlib sqlite3.

Created by the ceremony only, never by opening it: a signer without its counters would sign everything again. Never
decides: that is `hsm.policy`. Never restored from a backup: counts and log heads would run backwards.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from hsm.records import Binding, Kind, KnownHead, Owner, Reserved
from hsm.schema import APPLICATION_ID, PRAGMAS, SCHEMA, VERSION
from trust.printable import plainly

_BUSY_TIMEOUT_S = 5.0
_SWEEP_EVERY_S = 3600
_TAKE = MappingProxyType(
    {
        # No unit is begun that could not be completed any more.
        "pin": "UPDATE orders SET pins = pins + 1 WHERE id = ? AND pins < pin_limit AND completions < completion_limit",
        "completion": "UPDATE orders SET completions = completions + 1 WHERE id = ? AND completions < completion_limit",
    }
)


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


class Counters:
    """An open counters file. Used by one thread at a time. Single statements commit alone unless inside `transaction`.

    After an I/O error nothing more is written: what the disk holds is unknown until the signer is started again.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._broken: str | None = None
        self._swept_at: int | None = None

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
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One request of several in a transaction: when it ends with an exception, nothing of it stays."""
        self._run("SAVEPOINT request")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # SQLite may have rolled back the whole transaction already
                self._run("ROLLBACK TO request")
                self._run("RELEASE request")
            raise
        self._run("RELEASE request")

    def order(self, order_id: str) -> bytes | None:
        """The order's envelope as imported."""
        row = self._run("SELECT envelope FROM orders WHERE id = ?", order_id).fetchone()
        return None if row is None else bytes(row[0])

    def add_order(self, order_id: str, envelope: bytes, *, pins: int, completions: int) -> bool:
        """Remember an order and its limits; False if the id is known."""
        sql = "INSERT INTO orders VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING"
        return self._run(sql, order_id, envelope, pins, completions).rowcount == 1

    def add_challenge(self, challenge: bytes, binding: Binding, *, now: int, forget_before: int) -> None:
        """Remember a challenge; about once an hour, unused ones issued before `forget_before` are dropped (Unix s)."""
        if self._swept_at is None or abs(now - self._swept_at) >= _SWEEP_EVERY_S:
            self._run("DELETE FROM challenges WHERE used_by IS NULL AND issued_at < ?", forget_before)
            self._swept_at = now
        values = (challenge, binding.purpose, binding.order_id, binding.job, binding.device_id, now)
        self._run("INSERT INTO challenges VALUES (?, ?, ?, ?, ?, ?, NULL)", *values)

    def use_challenge(self, challenge: bytes, binding: Binding, *, used_by: str, issued: tuple[int, int]) -> bool:
        """Use it up for the statement with this payload hash; False if it is unknown, used, expired or for another."""
        return (
            self._run(
                "UPDATE challenges SET used_by = ? WHERE challenge = ? AND purpose = ? AND order_id = ? AND job = ? "
                "AND device_id = ? AND used_by IS NULL AND issued_at BETWEEN ? AND ?",
                used_by, challenge, binding.purpose, binding.order_id, binding.job, binding.device_id, *issued,
            ).rowcount
            == 1
        )  # fmt: skip

    def reserved(self, payload_sha256: str) -> Reserved | None:
        """The statement with this payload."""
        return self._one_reserved("payload_sha256 = ?", payload_sha256)

    def reserved_of_job(self, kind: Kind, job: str) -> Reserved | None:
        """The job's statement of this kind (not for receipts)."""
        return self._one_reserved("kind = ? AND job = ? AND kind <> 'receipt'", kind, job)

    def pin_of_device(self, device_id: str) -> Reserved | None:
        """The device's pin statement, whatever the order: a signer makes one for a device."""
        return self._one_reserved("kind = 'pin' AND device_id = ?", device_id)

    def completion_of_device(self, order_id: str, device_id: str) -> Reserved | None:
        """The device's completion under this order."""
        return self._one_reserved("kind = 'completion' AND order_id = ? AND device_id = ?", order_id, device_id)

    def claim_key(self, fingerprint: str, device_id: str) -> str:
        """The device that this key belongs to: this one if it is new, else the first that was signed for with it."""
        if self._run("INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING", fingerprint, device_id).rowcount == 1:
            return device_id
        return str(self._run("SELECT device_id FROM keys WHERE fingerprint = ?", fingerprint).fetchone()[0])

    def take_unit(self, kind: Literal["pin", "completion"], order_id: str) -> bool:
        """Count one more unit of the order; False, and nothing counted, when its limit is reached."""
        return self._run(_TAKE[kind], order_id).rowcount == 1

    def add_reserved(self, row: Reserved) -> None:
        """Make a statement's payload durable, not signed yet."""
        values = (row.payload_sha256, row.kind, row.order_id, row.job, row.device_id, row.fingerprint, row.payload)
        self._run("INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0)", *values)

    def store_envelope(self, payload_sha256: str, envelope: bytes) -> bytes:
        """Keep the signed envelope; returns the one that is kept, which is the first."""
        sql = "UPDATE statements SET envelope = ? WHERE payload_sha256 = ? AND envelope IS NULL"
        if self._run(sql, envelope, payload_sha256).rowcount == 1:
            return envelope
        return bytes(
            self._run("SELECT envelope FROM statements WHERE payload_sha256 = ?", payload_sha256).fetchone()[0]
        )

    def count_again(self, purpose: str, payload_sha256: str) -> None:
        """Count a payload that is signed once more because its first signature never reached the disk."""
        self._run("UPDATE statements SET resigned = resigned + 1 WHERE payload_sha256 = ?", payload_sha256)
        self.count_signature(purpose, again=True)

    def count_signature(self, purpose: str, *, again: bool = False) -> None:
        """Count one payload to be signed, or one signed again."""
        first, more = (0, 1) if again else (1, 0)
        self._run(
            "INSERT INTO signatures VALUES (?, ?, ?) ON CONFLICT (purpose) DO UPDATE "
            "SET payloads = payloads + excluded.payloads, resigned = resigned + excluded.resigned",
            purpose, first, more,
        )  # fmt: skip

    def signatures(self) -> dict[str, tuple[int, int]]:
        """Distinct payloads and re-signs by purpose."""
        return {purpose: (payloads, again) for purpose, payloads, again in self._run("SELECT * FROM signatures")}

    def head(self, origin: str, size: int | None = None) -> KnownHead | None:
        """The log's checkpoint of this size, or its last one."""
        sql = "SELECT size, root_hash, note FROM checkpoints WHERE origin = ? AND size = coalesce(?, size)"
        row = self._run(f"{sql} ORDER BY size DESC LIMIT 1", origin, size).fetchone()
        return None if row is None else KnownHead(size=row[0], root_hash=bytes(row[1]), note=row[2])

    def heads(self) -> dict[str, KnownHead]:
        """The last checkpoint of each log."""
        origins = [origin for (origin,) in self._run("SELECT DISTINCT origin FROM checkpoints")]
        return {origin: head for origin in origins if (head := self.head(origin)) is not None}

    def add_head(self, origin: str, size: int, root_hash: bytes) -> None:
        """Make a checkpoint durable, not signed yet."""
        self._run("INSERT INTO checkpoints VALUES (?, ?, ?, NULL)", origin, size, root_hash)

    def store_note(self, origin: str, size: int, note: str) -> str:
        """Keep the signed note; returns the one that is kept, which is the first."""
        self._run("UPDATE checkpoints SET note = ? WHERE origin = ? AND size = ? AND note IS NULL", note, origin, size)
        return str(self._run("SELECT note FROM checkpoints WHERE origin = ? AND size = ?", origin, size).fetchone()[0])

    def _one_reserved(self, where: str, *values: object) -> Reserved | None:
        columns = "kind, order_id, job, device_id, fingerprint, payload_sha256, payload, envelope"
        row = self._run(f"SELECT {columns} FROM statements WHERE {where}", *values).fetchone()  # noqa: S608 - constant text
        return None if row is None else Reserved(**dict(zip(columns.split(", "), row, strict=True)))

    def _run(self, sql: str, *values: Any) -> sqlite3.Cursor:
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
