"""Pins, completions and receipts in SQL: insert, and read back. Each function runs inside the caller's transaction.

Inserts are plain: the unique constraints decide, and `rivals` says afterwards who was there first. Never updates.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, insert, literal, or_, select

from registry.pins.checks import CheckedPin
from registry.pins.closing import CheckedCompletion
from registry.tables import completions, orders, pins, receipts, signature_r
from trust.dsse import Envelope
from trust.identity import DeviceId

_PIN_RECEIPT, _COMPLETION_RECEIPT = receipts.alias("pin_receipt"), receipts.alias("completion_receipt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored statement; no receipt if a crash or a silent signer came between."""

    statement: Envelope
    registered_at: str
    receipt: Envelope | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A stored pin that shares something with one that was refused."""

    device_id: str
    job: str
    fingerprint: str
    same_modulus: bool
    statement_sha256: str


def insert_pin(connection: Connection, checked: CheckedPin, at: str) -> None:
    """Insert pin, the r of its proofs and, unless it is known, its order; IntegrityError if any part is taken."""
    pin = checked.statement
    _insert_order(connection, checked)
    connection.execute(
        insert(pins),
        {
            "device_id": pin.device_id, "job": pin.job, "fingerprint": pin.fingerprint, "modulus": checked.key.modulus,
            "order_id": pin.order_id, "order_sha256": pin.order_sha256, "statement": checked.envelope.to_json(),
            "statement_sha256": checked.envelope.payload_sha256, "registered_at": at,
        },
    )  # fmt: skip
    _insert_nonces(connection, checked.nonces, pin.device_id)


def insert_completion(connection: Connection, checked: CheckedCompletion, at: str) -> None:
    """Insert the completion and the r of its signatures; IntegrityError if the pin is completed or an r was seen."""
    done = checked.statement
    connection.execute(
        insert(completions),
        {
            "device_id": done.device_id, "pin_sha256": done.pin_sha256, "statement": checked.envelope.to_json(),
            "statement_sha256": checked.envelope.payload_sha256, "registered_at": at,
        },
    )  # fmt: skip
    _insert_nonces(connection, checked.nonces, done.device_id)


def insert_receipt(connection: Connection, statement_sha256: str, receipt: Envelope) -> None:
    """Insert a receipt; IntegrityError if the statement has one."""
    connection.execute(insert(receipts), {"statement_sha256": statement_sha256, "envelope": receipt.to_json()})


def load(connection: Connection, device: DeviceId) -> StoredPin | None:
    """What is held about the device; None without a pin."""
    query = (
        select(
            pins.c.job, pins.c.fingerprint, pins.c.order_id, pins.c.order_sha256,
            pins.c.statement.label("pin"), pins.c.registered_at.label("pin_at"),
            _PIN_RECEIPT.c.envelope.label("pin_receipt"),
            completions.c.statement.label("completion"), completions.c.registered_at.label("completion_at"),
            _COMPLETION_RECEIPT.c.envelope.label("completion_receipt"),
        )
        .outerjoin_from(pins, _PIN_RECEIPT, _PIN_RECEIPT.c.statement_sha256 == pins.c.statement_sha256)
        .outerjoin(completions, completions.c.device_id == pins.c.device_id)
        .outerjoin(_COMPLETION_RECEIPT, _COMPLETION_RECEIPT.c.statement_sha256 == completions.c.statement_sha256)
        .where(pins.c.device_id == str(device))
    )  # fmt: skip
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    pin = _stored(row, "pin")
    if pin is None:  # the column takes no NULL
        raise AssertionError("a pin without a statement")
    return StoredPin(
        device=device, job=row["job"], fingerprint=row["fingerprint"], order_id=row["order_id"],
        order_sha256=row["order_sha256"], pin=pin, completion=_stored(row, "completion"),
    )  # fmt: skip


def load_receipt(connection: Connection, statement_sha256: str) -> Envelope:
    """The receipt of a statement that has one."""
    query = select(receipts.c.envelope).where(receipts.c.statement_sha256 == statement_sha256)
    return Envelope.from_json(connection.execute(query).scalar_one())


def load_order(connection: Connection, order_sha256: str) -> Envelope:
    """An order that a stored pin refers to."""
    query = select(orders.c.envelope).where(orders.c.order_sha256 == order_sha256)
    return Envelope.from_json(connection.execute(query).scalar_one())


def rivals(connection: Connection, checked: CheckedPin) -> list[Rival]:
    """Stored pins that share device, job, key or modulus with this one."""
    pin, modulus = checked.statement, checked.key.modulus
    shared: list[ColumnElement[bool]] = [
        pins.c.device_id == pin.device_id,
        pins.c.job == pin.job,
        pins.c.fingerprint == pin.fingerprint,
    ]
    if modulus is not None:
        shared.append(pins.c.modulus == modulus)
    columns = (pins.c.device_id, pins.c.job, pins.c.fingerprint, pins.c.modulus, pins.c.statement_sha256)
    return [
        Rival(
            device_id=row.device_id, job=row.job, fingerprint=row.fingerprint, statement_sha256=row.statement_sha256,
            same_modulus=modulus is not None and row.modulus == modulus,
        )
        for row in connection.execute(select(*columns).where(or_(*shared)))
    ]  # fmt: skip


def nonce_owners(connection: Connection, nonces: frozenset[bytes]) -> list[str]:
    """Ids of the devices of which one of these r is stored."""
    query = select(signature_r.c.device_id).where(signature_r.c.r.in_(sorted(nonces))).distinct()
    return list(connection.execute(query).scalars())


def _insert_order(connection: Connection, checked: CheckedPin) -> None:
    values = (checked.statement.order_sha256, checked.order.order_id, checked.order_envelope.to_json())
    known = exists().where(orders.c.order_sha256 == checked.statement.order_sha256)
    rows = select(*(literal(each) for each in values)).where(~known)
    connection.execute(insert(orders).from_select(["order_sha256", "order_id", "envelope"], rows))


def _insert_nonces(connection: Connection, nonces: frozenset[bytes], device_id: str) -> None:
    if nonces:
        connection.execute(insert(signature_r), [{"r": each, "device_id": device_id} for each in sorted(nonces)])


def _stored(row: RowMapping, what: str) -> Stored | None:
    if row[what] is None:
        return None
    receipt = row[f"{what}_receipt"]
    return Stored(
        statement=Envelope.from_json(row[what]), registered_at=row[f"{what}_at"],
        receipt=None if receipt is None else Envelope.from_json(receipt),
    )  # fmt: skip
