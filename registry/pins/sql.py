"""The registry's SQL statements, built once: a statement built anew for each request costs more than SQLite's own work.

Every value is a bound parameter. Never holds a connection and never runs anything.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, insert, literal, or_, select, union_all

from registry.tables import completions, orders, pin_acts, pins, receipts, signature_r

_PIN_RECEIPT, _COMPLETION_RECEIPT = receipts.alias("pin_receipt"), receipts.alias("completion_receipt")

INSERT_PIN: Final = insert(pins)
INSERT_COMPLETION: Final = insert(completions)
INSERT_RECEIPT: Final = insert(receipts)
INSERT_NONCE: Final = insert(signature_r)


def _held_of_any(*more: Any) -> Select[*tuple[Any, ...]]:
    return (
        select(
            pins.c.job, pins.c.fingerprint, pins.c.order_id, pins.c.order_sha256,
            pins.c.statement.label("pin"), pins.c.registered_at.label("pin_at"),
            _PIN_RECEIPT.c.envelope.label("pin_receipt"),
            completions.c.statement.label("completion"), completions.c.registered_at.label("completion_at"),
            _COMPLETION_RECEIPT.c.envelope.label("completion_receipt"),
            _LIFE.label("life"),
            *more,
        )
        .outerjoin_from(pins, _PIN_RECEIPT, _PIN_RECEIPT.c.statement_sha256 == pins.c.statement_sha256)
        .outerjoin(completions, completions.c.device_id == pins.c.device_id)
        .outerjoin(_COMPLETION_RECEIPT, _COMPLETION_RECEIPT.c.statement_sha256 == completions.c.statement_sha256)
    )  # fmt: skip


_LIFE = (
    select(pin_acts.c.state)
    .where(pin_acts.c.device_id == pins.c.device_id)
    .order_by(pin_acts.c.number.desc())
    .limit(1)
    .correlate(pins)
    .scalar_subquery()
)


def _held(*more: Any) -> Select[*tuple[Any, ...]]:
    return _held_of_any(*more).where(pins.c.device_id == bindparam("device_id"))


HELD: Final = _held()
"""A device's pin, completion and their receipts, at most one row. Parameter: device_id."""

HELD_WITH_ORDER: Final = _held(orders.c.envelope.label("order_envelope")).join(
    orders, orders.c.order_sha256 == pins.c.order_sha256
)
"""As `HELD`, with the order that the pin was made under."""

HELD_MANY: Final = (
    _held_of_any(pins.c.device_id, orders.c.envelope.label("order_envelope"))
    .join(orders, orders.c.order_sha256 == pins.c.order_sha256)
    .where(pins.c.device_id.in_(bindparam("device_ids", expanding=True)))
)
"""As `HELD_WITH_ORDER`, for several devices, with `device_id`. Parameter: device_ids, a list."""

RECEIPT: Final = select(receipts.c.envelope).where(receipts.c.statement_sha256 == bindparam("statement_sha256"))

_SHARING = select(pins.c.device_id, pins.c.job, pins.c.fingerprint, pins.c.modulus, pins.c.statement_sha256).where(
    or_(
        pins.c.device_id == bindparam("device_id"),
        and_(pins.c.station == bindparam("station"), pins.c.job == bindparam("job")),
        pins.c.fingerprint == bindparam("fingerprint"),
        pins.c.modulus == bindparam("modulus"),  # NULL, as of an EC key, equals nothing
    )
)
_RENEWED = select(
    pin_acts.c.device_id,
    literal("").label("job"),
    pin_acts.c.new_fingerprint.label("fingerprint"),
    pin_acts.c.new_modulus.label("modulus"),
    pin_acts.c.repin_sha256.label("statement_sha256"),
).where(
    pin_acts.c.device_id != bindparam("device_id"),
    or_(pin_acts.c.new_fingerprint == bindparam("fingerprint"), pin_acts.c.new_modulus == bindparam("modulus")),
)

RIVALS: Final = union_all(_SHARING, _RENEWED)
"""Pins, and later keys of other devices, that share something.

Parameters: device_id, station, job, fingerprint, modulus.
"""

NONCE_OWNERS: Final = (
    select(signature_r.c.device_id).where(signature_r.c.r.in_(bindparam("r", expanding=True))).distinct()
)
"""Whose r these are. Parameter: r, a list."""
