"""The whole database, walked and verified: every device by the readers' function, every row that belongs to none.

Reads in chunks, each one view of its own, so that memory stays small whatever the number of devices, and nothing waits
for it. What is written meanwhile is looked at or not. Never mends anything, and never signs what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, Table, func, select

from registry.checking.chunks import chunks, pages
from registry.checking.counts import count_findings
from registry.checking.leases import lease_findings, raise_findings
from registry.checking.people import people_findings
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
_NO_PIN: Final = "extra: its device has no pin"
_NOTHING: Final = "extra: no statement or act has this hash"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table whose rows are each about a row elsewhere: by what, in which columns to look, what is said if none is."""

    table: Table
    key: tuple[Column[Any], ...]
    about: Column[Any]
    among: Sequence[Column[Any]]
    text: str


def findings(database: Database, trusted: TrustedRoot, now: datetime) -> Iterator[Finding]:
    """Everything that is edited, missing or extra."""
    yield from chain(
        _roots(database, trusted),
        _devices(database, trusted, now),
        _orders(database),
        *(_strays(database, each) for each in _belonging()),
        count_findings(database, trusted),
        lease_findings(database, trusted),
        raise_findings(database, trusted),
        people_findings(database, trusted),
        _beyond_leases(database),
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


def _belonging() -> list[_Kind]:
    """Tables whose rows are about other rows."""
    said = [pins.c.statement_sha256, completions.c.statement_sha256, pin_acts.c.act_sha256, pin_acts.c.repin_sha256]
    return [
        _Kind(completions, (completions.c.device_id,), completions.c.device_id, [pins.c.device_id], _NO_PIN),
        _Kind(pin_acts, (pin_acts.c.device_id, pin_acts.c.number), pin_acts.c.device_id, [pins.c.device_id], _NO_PIN),
        _Kind(signature_r, (signature_r.c.r,), signature_r.c.device_id, [pins.c.device_id], _NO_PIN),
        _Kind(revocations, (revocations.c.act_sha256,), revocations.c.device_id, [pins.c.device_id], _NO_PIN),
        _Kind(
            rekey_words, (rekey_words.c.act_sha256, rekey_words.c.number), rekey_words.c.device_id, [pins.c.device_id],
            _NO_PIN,
        ),
        _Kind(receipts, (receipts.c.statement_sha256,), receipts.c.statement_sha256, said, _NOTHING),
    ]  # fmt: skip


def _strays(database: Database, kind: _Kind) -> Iterator[Finding]:
    """Rows of the table that are about nothing: so many are looked at in one view, however many are as they should."""
    for page in pages(database, select(*kind.key, kind.about.label("about")).order_by(*kind.key), kind.key):
        missing = {row["about"] for row in page}
        for each in kind.among:
            if missing:
                missing -= _there(database, each, missing)
        for row in page:
            if row["about"] in missing:
                yield Finding(kind.table.name, _place(row, kind.key), kind.text)


def _there(database: Database, column: Column[Any], wanted: set[Any]) -> set[Any]:
    with database.read() as connection:
        return set(connection.execute(select(column).where(column.in_(wanted))).scalars())


def _beyond_leases(database: Database) -> Iterator[Finding]:
    """Reported pins that no lease of their station covers."""
    key = (reported_pins.c.station, reported_pins.c.number)
    for page in pages(database, select(*key).order_by(*key), key):
        stations = {row["station"] for row in page}
        signed = select(leases.c.station, func.max(leases.c.signed).label("most"))
        with database.read() as connection:
            found = connection.execute(signed.where(leases.c.station.in_(stations)).group_by(leases.c.station)).all()
        most = {row.station: row.most for row in found}
        for row in page:
            if row["number"] > most.get(row["station"], 0):
                yield Finding("reported_pins", _place(row, key), "extra: no lease of this station covers it")


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


def _place(row: Row, key: tuple[Column[Any], ...]) -> str:
    return " number ".join(_shown(row[each.name]) for each in key)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
