"""What is on the disks of station, signer, registry and device, read with plain SQLite and JSON.

Shares no reading code with the product: a bug there must not hide itself here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)


def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows; writable, so that a journal left by a killed writer is rolled back."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def everything(path: Path) -> bytes:
    """All values of all tables, and the payloads inside envelopes in the clear."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [row for name in names for row in connection.execute(f'SELECT * FROM "{name}"')]
    connection.close()
    held = [value.encode() if isinstance(value, str) else value for row in rows for value in row]
    texts = [each for each in held if isinstance(each, bytes)]
    return b"\n".join([*texts, *(Sealed.of(each).payload for each in texts if each.startswith(b'{"payload"'))])


def digest(place: Path) -> str:
    """One hash over everything in a plant's directory that a run can change: equal digests, equal recoveries."""
    changing = sorted((*place.rglob("*.db"), *place.glob("*.flash"), *place.glob("*.dark"), *place.rglob("flash.bin")))
    return hashlib.sha256(
        b"".join(hashlib.sha256(f"{path.name}:".encode() + path.read_bytes()).digest() for path in changing)
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A DSSE envelope taken apart: payload bytes, type, signatures."""

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]

    @classmethod
    def of(cls, entry: bytes) -> Sealed:
        parts = json.loads(entry)
        signatures = tuple(base64.b64decode(each["sig"]) for each in parts["signatures"])
        return cls(base64.b64decode(parts["payload"]), parts["payloadType"], signatures)

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()

    def signed_by(self, spki: bytes) -> bool:
        pae = b"DSSEv1 %d %s %d %s" % (
            len(self.payload_type), self.payload_type.encode(), len(self.payload), self.payload,
        )  # fmt: skip
        return any(verifies(spki, signature, pae) for signature in self.signatures)


def verifies(spki: bytes, signature: bytes, message: bytes) -> bool:
    """ECDSA P-256 with SHA-256, DER; or RSASSA-PKCS1-v1_5 with SHA-256."""
    key = load_der_public_key(spki)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def has_job(ledger: Path, job: str) -> bool:
    return bool(query(ledger, "SELECT 1 FROM jobs WHERE job_id = ?", job))


def has_record(ledger: Path, job: str, kind: str, payload: bytes | None) -> bool:
    """Whether the record is there, with this very payload if one is given."""
    found = records(ledger, job).get(kind)
    return found is not None and payload in {None, found.payload}


def is_completed(ledger: Path, device: str) -> bool:
    sql = "SELECT 1 FROM records JOIN jobs USING (job_id) WHERE device_id = ? AND kind = 'completion'"
    return bool(query(ledger, sql, device))


def job_of(payload: bytes) -> str:
    return str(json.loads(payload)["job"])


def jobs(ledger: Path, device: str) -> list[str]:
    return [row[0] for row in query(ledger, "SELECT job_id FROM jobs WHERE device_id = ? ORDER BY leaf_index", device)]


def records(ledger: Path, job: str) -> dict[str, Sealed]:
    """The records of a job by kind, in the order of the log."""
    sql = (
        'SELECT kind, entry FROM records JOIN leaves ON leaves."index" = leaf_index '
        "WHERE job_id = ? ORDER BY leaf_index"
    )
    return {kind: Sealed.of(entry) for kind, entry in query(ledger, sql, job)}


def entries(ledger: Path) -> list[bytes]:
    """The log, oldest first."""
    return [row[0] for row in query(ledger, 'SELECT entry FROM leaves ORDER BY "index"')]


def events(ledger: Path, kind: str) -> list[dict[str, Any]]:
    """Bodies of the events of this kind."""
    found = [Sealed.of(each) for each in entries(ledger)]
    return [each.body for each in found if "event" in each.payload_type and each.body["kind"] == kind]


def pending(ledger: Path) -> list[tuple[str, str]]:
    """Job and kind of each statement without an answer."""
    sql = "SELECT job_id, kind FROM outbox LEFT JOIN deliveries ON outbox_leaf = outbox.leaf_index WHERE outbox_leaf IS NULL"
    return query(ledger, sql)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device's flash as its file says."""

    device_id: str
    fingerprint: str | None
    spki: bytes | None
    job: str | None
    anchor: tuple[bytes, bytes, int, str, int] | None
    locked_for: str | None
    scalar: bytes | None


def device(flash: Path) -> Device:
    held = json.loads(flash.read_bytes())
    key, anchor, locked = held["key"], held["anchor"], held["locked_for"]
    spki = scalar = None
    if key:
        private = load_der_private_key(base64.b64decode(key["private"]), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        numbers = private.private_numbers()
        secret = numbers.d if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
        scalar = secret.to_bytes((secret.bit_length() + 7) // 8)
    return Device(
        device_id=base64.b64decode(held["device_id"]).hex(),
        fingerprint=hashlib.sha256(spki).hexdigest() if spki else None,
        spki=spki,
        job=base64.b64decode(key["job"]).hex() if key else None,
        anchor=anchor
        and (
            base64.b64decode(anchor["cloud"]),
            base64.b64decode(anchor["auth"]),
            anchor["svc"],
            anchor["host"],
            anchor["port"],
        ),
        locked_for=base64.b64decode(locked).hex() if locked else None,
        scalar=scalar,
    )
