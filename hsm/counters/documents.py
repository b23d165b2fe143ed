"""Statements that a signer makes of itself, and what follows from them: leases, returns, acts and stops, as rows.

Never decides: that is `hsm.policy` and the verbs.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm.counters.file import CounterFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A statement of the signer about itself: its payload never changes; `envelope` is None until it is signed.

    Minutes of key acts are kept in the same way, and never signed here: people approve them.
    """

    kind: str
    payload_sha256: str
    payload: bytes
    envelope: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLease:
    """A lease that was asked for; `lease` is None until it is granted. `signed` and `head` are the request's."""

    serial: int
    request_sha256: str
    signed: int
    head: bytes
    lease: bytes | None = None
    up_to: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why this signer signs nothing more for devices."""

    number: int
    reason: str


class Documents:
    """The rows of one counters file. Single statements commit alone unless inside its `transaction`."""

    def __init__(self, file: CounterFile) -> None:
        self._run = file.run

    def find(self, payload_sha256: str) -> Document | None:
        """The document with this payload."""
        sql = "SELECT kind, payload_sha256, payload, envelope FROM documents WHERE payload_sha256 = ?"
        row = self._run(sql, payload_sha256).fetchone()
        return None if row is None else Document(kind=row[0], payload_sha256=row[1], payload=row[2], envelope=row[3])

    def add(self, document: Document) -> None:
        """Make it durable, not signed yet."""
        row = (document.payload_sha256, document.kind, document.payload)
        self._run("INSERT INTO documents VALUES (?, ?, ?, NULL, 0)", *row)

    def sign_again(self, payload_sha256: str) -> None:
        """Its first signature never reached the disk."""
        self._run("UPDATE documents SET resigned = resigned + 1 WHERE payload_sha256 = ?", payload_sha256)

    def store(self, payload_sha256: str, envelope: bytes) -> None:
        """Keep its envelope."""
        self._run("UPDATE documents SET envelope = ? WHERE payload_sha256 = ?", envelope, payload_sha256)

    def payloads(self, kind: str) -> list[bytes]:
        """Those of all documents of this kind, oldest first."""
        sql = "SELECT payload FROM documents WHERE kind = ? ORDER BY rowid"
        return [bytes(payload) for (payload,) in self._run(sql, kind)]

    def last_payload(self, kind: str, *, but: str) -> bytes | None:
        """That of the newest document of this kind, except the one with this payload's hash."""
        sql = "SELECT payload FROM documents WHERE kind = ? AND payload_sha256 <> ? ORDER BY rowid DESC LIMIT 1"
        row = self._run(sql, kind, but).fetchone()
        return None if row is None else bytes(row[0])

    def last_lease(self, *, granted: bool) -> KnownLease | None:
        """The newest lease that was granted, or the one that was asked for and not granted yet: always the last."""
        columns = "serial, request_sha256, signed, head, lease, up_to, expires_at"
        sql = f"SELECT {columns} FROM leases ORDER BY serial DESC LIMIT 2"  # noqa: S608 - constant text
        found = [KnownLease(**dict(zip(columns.split(", "), row, strict=True))) for row in self._run(sql)]
        return next((each for each in found if (each.lease is not None) is granted), None)

    def ask_lease(self, lease: KnownLease) -> None:
        """Remember what was asked for."""
        row = (lease.serial, lease.request_sha256, lease.signed, lease.head)
        self._run("INSERT INTO leases VALUES (?, ?, ?, ?, NULL, NULL, NULL)", *row)

    def grant_lease(self, serial: int, lease: bytes, *, up_to: int, expires_at: int) -> None:
        """Remember what was granted (Unix seconds)."""
        sql = "UPDATE leases SET lease = ?, up_to = ?, expires_at = ? WHERE serial = ?"
        self._run(sql, lease, up_to, expires_at, serial)

    def grant(self, station: str, serial: int, payload_sha256: str) -> None:
        """Remember that the station was granted this number by the lease with this payload; once."""
        self._run("INSERT INTO granted VALUES (?, ?, ?)", station, serial, payload_sha256)

    def last_grant(self, station: str) -> int:
        """The highest serial granted to this station; 0 before the first."""
        return int(self._run("SELECT coalesce(max(serial), 0) FROM granted WHERE station = ?", station).fetchone()[0])

    def add_act(self, payload_sha256: str, kind: str, envelope: bytes, now: int) -> bool:
        """Use the act up; False if it was used before."""
        sql = "INSERT INTO acts VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        return self._run(sql, payload_sha256, kind, envelope, now).rowcount == 1

    def act_was_used(self, payload_sha256: str) -> bool:
        """Whether this very act was done."""
        return self._run("SELECT 1 FROM acts WHERE payload_sha256 = ?", payload_sha256).fetchone() is not None

    def stop(self) -> Stop | None:
        """The oldest stop that was not lifted."""
        row = self._run("SELECT id, reason FROM stops WHERE lifted_by IS NULL ORDER BY id LIMIT 1").fetchone()
        return None if row is None else Stop(number=row[0], reason=row[1])

    def add_stop(self, reason: str, now: int, *, surplus: int = 0) -> None:
        """Stop, unless this very reason stops it already; `surplus`: how many signatures nobody accounts for."""
        sql = "SELECT count(*) FROM stops WHERE lifted_by IS NULL AND reason = ?"
        if self._run(sql, reason).fetchone()[0] == 0:
            self._run("INSERT INTO stops (reason, surplus, stopped_at) VALUES (?, ?, ?)", reason, surplus, now)

    def accepted_surplus(self) -> int:
        """The largest surplus whose stop was lifted: officers know of it."""
        return int(self._run("SELECT coalesce(max(surplus), 0) FROM stops WHERE lifted_by IS NOT NULL").fetchone()[0])

    def lift_stop(self, number: int, act_sha256: str) -> bool:
        """Lift it by this act; False if there is no such stop, or not any more."""
        sql = "UPDATE stops SET lifted_by = ? WHERE id = ? AND lifted_by IS NULL"
        return self._run(sql, act_sha256, number).rowcount == 1
