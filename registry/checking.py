"""The whole database, walked and verified: every device by the readers' function, every row that belongs to none.

Reads in chunks, each one view of its own, so that memory stays small whatever the number of devices, and nothing waits
for it. What is written meanwhile is looked at or not. Never mends anything, and never signs what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, exists, func, or_, select

from registry.checking_chunks import chunks
from registry.checking_counts import order_count_findings, station_count_findings
from registry.checking_leases import lease_findings, raise_findings
from registry.checking_people import people_findings
from registry.database import Database
from registry.pins.finding import Finding
from registry.pins.reading import judged
from registry.pins.rows import Row, of_devices
from registry.tables import (
    completions,
    leases,
    order_approvals,
    orders,
    pin_acts,
    pins,
    receipts,
    rekey_words,
    reported_pins,
    revocations,
    roots,
    signature_r,
)
from trust.dsse import Envelope, EnvelopeError
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import StatementError, read

_DEVICES: Final = 200
_REPORTED = (reported_pins.c.station, reported_pins.c.number)


def findings(database: Database, trusted: TrustedRoot, now: datetime) -> Iterator[Finding]:
    """Everything that is edited, missing or extra."""
    yield from chain(
        _roots(database, trusted),
        _devices(database, trusted, now),
        _orders(database),
        *(_strays(database, table, key, known, text) for table, key, known, text in _belonging()),
        order_count_findings(database),
        station_count_findings(database, trusted),
        lease_findings(database, trusted),
        raise_findings(database, trusted),
        people_findings(database, trusted),
        _strays(database, reported_pins, _REPORTED, _in_a_lease(), "extra: no lease of this station covers it"),
    )


def devices(database: Database) -> int:
    """How many devices have a pin: for progress."""
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(pins)).scalar_one())


def _devices(database: Database, trusted: TrustedRoot, now: datetime) -> Iterator[Finding]:
    last = ""
    while True:
        query = select(pins.c.device_id).where(pins.c.device_id > last).order_by(pins.c.device_id).limit(_DEVICES)
        with database.read() as connection:
            ids = list(connection.execute(query).scalars())
            rows = list(of_devices(connection, ids))
        if not ids:
            return
        last = ids[-1]
        for each in rows:
            yield from judged(each, trusted, now)[1]


def _belonging() -> list[tuple[Table, tuple[Column[Any], ...], ColumnElement[bool], str]]:
    """Tables whose rows are about other rows, by what, and what is said of one about nothing."""
    told = or_(
        exists().where(pins.c.statement_sha256 == receipts.c.statement_sha256),
        exists().where(completions.c.statement_sha256 == receipts.c.statement_sha256),
        exists().where(pin_acts.c.act_sha256 == receipts.c.statement_sha256),
        exists().where(pin_acts.c.repin_sha256 == receipts.c.statement_sha256),
    )
    return [
        (completions, (completions.c.device_id,), _of_a_pin(completions), "extra: its device has no pin"),
        (pin_acts, (pin_acts.c.device_id, pin_acts.c.number), _of_a_pin(pin_acts), "extra: its device has no pin"),
        (signature_r, (signature_r.c.r,), _of_a_pin(signature_r), "extra: its device has no pin"),
        (revocations, (revocations.c.act_sha256,), _of_a_pin(revocations), "extra: its device has no pin"),
        (
            rekey_words, (rekey_words.c.act_sha256, rekey_words.c.number), _of_a_pin(rekey_words),
            "extra: its device has no pin",
        ),
        (receipts, (receipts.c.statement_sha256,), told, "extra: no statement or act has this hash"),
    ]  # fmt: skip


def _in_a_lease() -> ColumnElement[bool]:
    return exists().where(leases.c.station == reported_pins.c.station, leases.c.signed >= reported_pins.c.number)


def _of_a_pin(table: Table) -> ColumnElement[bool]:
    return exists().where(pins.c.device_id == table.c.device_id)


def _strays(
    database: Database, table: Table, key: tuple[Column[Any], ...], known: ColumnElement[bool], text: str
) -> Iterator[Finding]:
    query = select(*key).where(~known).order_by(*key)
    for row in chunks(database, query, key):
        yield Finding(table.name, " number ".join(_shown(row[each.name]) for each in key), text)


def _orders(database: Database) -> Iterator[Finding]:
    """Each order's envelopes are of the order that their rows name; approvals are judged where something was pinned."""
    for row in chunks(database, select(orders).order_by(orders.c.order_sha256), (orders.c.order_sha256,)):
        yield from _order_findings("orders", row["order_sha256"], row)
    key = (order_approvals.c.envelope_sha256,)
    for row in chunks(database, select(order_approvals).order_by(*key), key):
        yield from _order_findings("order_approvals", row["envelope_sha256"], row)


def _order_findings(table: str, key: str, row: Row) -> Iterator[Finding]:
    try:
        envelope = Envelope.from_json(row["envelope"])
        order = read(envelope, WorkOrder)
    except (EnvelopeError, StatementError) as error:
        yield Finding(table, key, f"envelope: {error}")
        return
    if envelope.payload_sha256 != row["order_sha256"]:
        yield Finding(table, key, f"order_sha256 is {row['order_sha256'][:16]}…, its envelope is another order's")
    if row.get("order_id", order.order_id) != order.order_id:
        yield Finding(table, key, f"order_id is {row['order_id']!r}, its envelope says {order.order_id!r}")


def _roots(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """Each version that was taken up is one of the root's file."""
    known = {root.version: sha256 for sha256, root in (*trusted.earlier, (trusted.sha256, trusted.root))}
    for row in chunks(database, select(roots).order_by(roots.c.version), (roots.c.version,)):
        if known.get(row["version"]) != row["sha256"]:
            text = f"sha256 is {row['sha256'][:16]}…, which is no version {row['version']} of the root's file"
            yield Finding("roots", str(row["version"]), text)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
