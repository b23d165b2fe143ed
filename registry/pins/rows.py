"""All rows about a device as the database has them, nothing believed: for who verifies them. Reads only, never decides.

Many devices at a time with a few queries each table, so that a walk over all devices stays quick and small.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import BindParameter, Column, Connection, Select, Table, bindparam, func, select

from registry.tables import (
    completions,
    order_approvals,
    orders,
    pin_acts,
    pins,
    receipts,
    rekey_words,
    revocations,
    signature_r,
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRows:
    """One device's rows, by column. `orders`: each envelope of the pin's order, the first one first.

    `receipts` and `revocations` by what they are about: a statement's or an act's hash, as the rows name it.
    """

    device_id: str
    pin: Row
    orders: tuple[Row, ...]
    completion: Row | None
    acts: tuple[Row, ...]
    receipts: Mapping[str, bytes]
    revocations: Mapping[str, Row]
    nonces: frozenset[bytes]
    words: tuple[Row, ...]


def of_device(connection: Connection, device_id: str) -> DeviceRows | None:
    """One device's rows; None without a pin."""
    return next(of_devices(connection, [device_id]), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """By what a reader knows that a device's record has not moved on: each column is of what only ever is added."""

    pin: str
    completion: str | None
    acts: int | None


def mark_of(connection: Connection, device_id: str) -> Mark | None:
    """How far a device's record goes, by one question; None without a pin."""
    found = connection.execute(_HOW_FAR, {"device": device_id}).first()
    return None if found is None else Mark(pin=found.pin, completion=found.completion, acts=found.acts)


def of_devices(connection: Connection, device_ids: Sequence[str]) -> Iterator[DeviceRows]:
    """The rows of those devices that have a pin, in the order of their ids."""
    found = _rows(connection, pins, pins.c.device_id, device_ids)
    completed = {row["device_id"]: row for row in _rows(connection, completions, completions.c.device_id, device_ids)}
    acts = _grouped(_rows(connection, pin_acts, pin_acts.c.device_id, device_ids), "device_id")
    revoked = _grouped(_rows(connection, revocations, revocations.c.device_id, device_ids), "device_id")
    said = _grouped(_rows(connection, rekey_words, rekey_words.c.device_id, device_ids), "device_id")
    used = _grouped(_rows(connection, signature_r, signature_r.c.device_id, device_ids), "device_id")
    kept = _grouped(_orders(connection, {row["order_sha256"] for row in found}), "order_sha256")
    told = _receipts(connection, [*found, *completed.values(), *(each for some in acts.values() for each in some)])
    for row in sorted(found, key=lambda each: each["device_id"]):
        device = row["device_id"]
        own = sorted(acts[device], key=lambda each: each["number"])
        yield DeviceRows(
            device_id=device, pin=row, orders=tuple(kept[row["order_sha256"]]), completion=completed.get(device),
            acts=tuple(own), receipts=told, revocations={each["act_sha256"]: each for each in revoked[device]},
            nonces=frozenset(each["r"] for each in used[device]), words=tuple(said[device]),
        )  # fmt: skip


def receipted(row: Row) -> str:
    """Which statement's receipt a row of `pins`, `completions` or `pin_acts` is due."""
    if "statement_sha256" in row:
        return str(row["statement_sha256"])
    return str(row["repin_sha256"] or row["act_sha256"])


def _orders(connection: Connection, hashes: Iterable[str]) -> list[Row]:
    """Each order's envelopes: the first one, then those with other approvals that came later."""
    wanted = sorted(hashes)
    later = _rows(connection, order_approvals, order_approvals.c.order_sha256, wanted)
    first = _rows(connection, orders, orders.c.order_sha256, wanted)
    return [*first, *sorted(later, key=lambda row: (row["taken_at"], row["envelope_sha256"]))]


def _receipts(connection: Connection, rows: Iterable[Row]) -> dict[str, bytes]:
    wanted = sorted({receipted(row) for row in rows})
    found = _rows(connection, receipts, receipts.c.statement_sha256, wanted)
    return {row["statement_sha256"]: row["envelope"] for row in found}


def _rows(connection: Connection, table: Table, key: Column[Any], values: Sequence[str]) -> list[Row]:
    if not values:
        return []
    if len(values) == 1:  # IN is spelt anew for each number of values
        found = connection.execute(_of_one(table, key), {"value": values[0]})
    else:
        found = connection.execute(select(table).where(key.in_(values)))
    return [dict(row) for row in found.mappings()]


@cache
def _of_one(table: Table, key: Column[Any]) -> Select[Any]:
    """Made once: making it costs as much as asking it."""
    return select(table).where(key == bindparam("value"))


_DEVICE: Final[BindParameter[str]] = bindparam("device")
_COMPLETION: Final = select(completions.c.statement_sha256).where(completions.c.device_id == _DEVICE)
_ACTS: Final = select(func.max(pin_acts.c.number)).where(pin_acts.c.device_id == _DEVICE)
_HOW_FAR: Final = select(
    pins.c.statement_sha256.label("pin"),
    _COMPLETION.scalar_subquery().label("completion"),
    _ACTS.scalar_subquery().label("acts"),
).where(pins.c.device_id == _DEVICE)


def _grouped(rows: Iterable[Row], key: str) -> defaultdict[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups
