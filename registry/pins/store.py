"""Pins, completions and receipts in SQL: insert, and read back. Each function runs inside the caller's transaction.

Inserts are plain: the unique constraints decide, and `rivals` says afterwards who was there first. Never updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row

from registry.pins import sql
from registry.pins.checks import CheckedPin
from registry.pins.closing import CheckedCompletion
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.pin_act import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored statement; no receipt if a crash or a silent signer came between.

    `is_new`: this process has just checked and inserted it, so that its row need not be believed.
    """

    statement: Envelope
    registered_at: str
    receipt: Envelope | None
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPin:
    """What the tables hold about one device."""

    device: DeviceId
    job: str
    fingerprint: str
    order_id: str
    order_sha256: str
    pin: Stored
    completion: Stored | None
    life: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A stored pin that shares something with one that was refused."""

    device_id: str
    job: str
    fingerprint: str
    same_modulus: bool
    statement_sha256: str


def insert_pins(connection: Connection, checked: Sequence[CheckedPin], at: str) -> list[StoredPin]:
    """Insert pins, whose orders are there, and the r of their proofs; IntegrityError if any part is taken.

    What `load` will give once the caller has committed, and not before.
    """
    connection.execute(sql.INSERT_PIN, [_pin_row(each, at) for each in checked])
    _insert_nonces(connection, [(r, str(each.device)) for each in checked for r in each.nonces])
    return [_inserted(each, at) for each in checked]


def insert_completions(connection: Connection, checked: Sequence[CheckedCompletion], at: str) -> list[Stored]:
    """Insert completions and the r of their signatures; IntegrityError if a pin is completed or an r was seen.

    What `load` will give as the completions once the caller has committed, and not before.
    """
    connection.execute(
        sql.INSERT_COMPLETION,
        [
            {
                "device_id": each.statement.device_id, "pin_sha256": each.statement.pin_sha256,
                "statement": each.envelope.to_json(), "statement_sha256": each.envelope.payload_sha256,
                "registered_at": at,
            }
            for each in checked
        ],
    )  # fmt: skip
    _insert_nonces(connection, [(r, str(each.device)) for each in checked for r in each.nonces])
    return [Stored(statement=each.envelope, registered_at=at, receipt=None, is_new=True) for each in checked]


def insert_receipts(connection: Connection, receipts: Mapping[str, Envelope]) -> None:
    """Insert receipts, by the statements' SHA-256; IntegrityError if one of them has a receipt."""
    rows = [{"statement_sha256": sha256, "envelope": each.to_json()} for sha256, each in sorted(receipts.items())]
    connection.execute(sql.INSERT_RECEIPT, rows)


def load(connection: Connection, device: DeviceId) -> StoredPin | None:
    """What is held about the device; None without a pin."""
    row = connection.execute(sql.HELD, {"device_id": str(device)}).one_or_none()
    return None if row is None else _stored_pin(row, device)


def load_with_order(connection: Connection, device: DeviceId) -> tuple[StoredPin, Envelope] | None:
    """What is held about the device and the order that it was pinned under; None without a pin."""
    row = connection.execute(sql.HELD_WITH_ORDER, {"device_id": str(device)}).one_or_none()
    return None if row is None else (_stored_pin(row, device), Envelope.from_json(row.order_envelope))


def load_many(connection: Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, tuple[StoredPin, bytes]]:
    """What is held about each device that has a pin, with its order's envelope as JSON."""
    found: dict[DeviceId, tuple[StoredPin, bytes]] = {}
    for row in connection.execute(sql.HELD_MANY, {"device_ids": sorted({str(each) for each in devices})}):
        device = DeviceId.parse(row.device_id)
        found[device] = (_stored_pin(row, device), row.order_envelope)
    return found


def load_receipt(connection: Connection, statement_sha256: str) -> Envelope:
    """The receipt of a statement that has one."""
    return Envelope.from_json(connection.execute(sql.RECEIPT, {"statement_sha256": statement_sha256}).scalar_one())


def rivals(connection: Connection, checked: CheckedPin) -> list[Rival]:
    """Stored pins that share device, job, key or modulus with this one."""
    pin, modulus = checked.statement, checked.key.modulus
    shared = {
        "device_id": pin.device_id, "station": pin.station, "job": pin.job,
        "fingerprint": pin.fingerprint, "modulus": modulus,
    }  # fmt: skip
    return [
        Rival(
            device_id=row.device_id, job=row.job, fingerprint=row.fingerprint, statement_sha256=row.statement_sha256,
            same_modulus=modulus is not None and row.modulus == modulus,
        )
        for row in connection.execute(sql.RIVALS, shared)
    ]  # fmt: skip


def nonce_owners(connection: Connection, nonces: frozenset[bytes]) -> list[str]:
    """Ids of the devices of which one of these r is stored."""
    return list(connection.execute(sql.NONCE_OWNERS, {"r": sorted(nonces)}).scalars())


def _insert_nonces(connection: Connection, used: list[tuple[bytes, str]]) -> None:
    if used:
        connection.execute(sql.INSERT_NONCE, [{"r": r, "device_id": device_id} for r, device_id in sorted(used)])


def _pin_row(checked: CheckedPin, at: str) -> dict[str, object]:
    pin, statement = checked.statement, checked.envelope
    return {
        "device_id": pin.device_id, "station": pin.station, "job": pin.job, "fingerprint": pin.fingerprint,
        "modulus": checked.key.modulus, "order_id": pin.order_id, "order_sha256": pin.order_sha256,
        "statement": statement.to_json(), "statement_sha256": statement.payload_sha256, "registered_at": at,
    }  # fmt: skip


def _inserted(checked: CheckedPin, at: str) -> StoredPin:
    pin = checked.statement
    return StoredPin(
        device=checked.device, job=pin.job, fingerprint=pin.fingerprint, order_id=pin.order_id,
        order_sha256=pin.order_sha256, completion=None,
        pin=Stored(statement=checked.envelope, registered_at=at, receipt=None, is_new=True),
    )  # fmt: skip


def _stored_pin(row: Row[*tuple[object, ...]], device: DeviceId) -> StoredPin:
    completed = row.completion is not None
    return StoredPin(
        device=device, job=row.job, fingerprint=row.fingerprint, order_id=row.order_id, order_sha256=row.order_sha256,
        pin=_stored(row.pin, row.pin_at, row.pin_receipt),
        completion=_stored(row.completion, row.completion_at, row.completion_receipt) if completed else None,
        life=row.life,
    )  # fmt: skip


def _stored(statement: bytes, at: str, receipt: bytes | None) -> Stored:
    return Stored(
        statement=Envelope.from_json(statement), registered_at=at,
        receipt=None if receipt is None else Envelope.from_json(receipt),
    )  # fmt: skip
