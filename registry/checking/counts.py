"""The counts that the database decides by, recomputed: each column of each row, and the rows that should be there.

An order's counts are what its pins, its completions, the acts on them and the acts of officers say; a station's are
what its pins and leases say. They move upwards only, each in the transaction that makes what is counted: what the walk
finds lies between the count before it and the count after, and is exactly that where nothing was added meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import exists, func, select

from registry.checking.chunks import chunks
from registry.checking.tally import Said, Tally, tally, unreported
from registry.database import Database
from registry.orders.counts import Counted
from registry.pins.finding import Finding
from registry.pins.rows import Row
from registry.tables import leases, order_counts, order_raises, orders, station_counts
from trust.dsse import Envelope, EnvelopeError
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import StatementError, read

_NOTHING = Counted(station="", pins=0, pin_limit=0, completions=0, completion_limit=0, scrapped=0)
_Share = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Counts:
    """What is counted at one moment."""

    shares: dict[_Share, Counted]
    stations: dict[str, Any]
    granted: dict[str, int]


def count_findings(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """Everything about counts of orders and stations that is not as the rows say."""
    before = _counts(database)
    raised = _raised(database)
    said = tally(database, {station: row.reported_before for station, row in before.stations.items()})
    after = _counts(database)
    yield from _orders(database, said, raised, before, after)
    yield from _stations(database, trusted, said, before, after)


def _counts(database: Database) -> _Counts:
    most = select(leases.c.station, func.max(leases.c.up_to).label("most")).group_by(leases.c.station)
    with database.read() as connection:
        return _Counts(
            {
                (row["order_sha256"], row["station"]): Counted(
                    **{each.name: row[each.name] for each in fields(Counted)}
                )
                for row in connection.execute(select(order_counts)).mappings()
            },
            {row.station: row for row in connection.execute(select(station_counts))},
            {row.station: row.most for row in connection.execute(most)},
        )


def _key(row: Row) -> _Share:
    return row["order_sha256"], row["station"]


def _counted(row: Row) -> Counted:
    return Counted(**{each.name: row[each.name] for each in fields(Counted)})


def _raised(database: Database) -> dict[_Share, int]:
    """By how many pins officers have raised each share: their acts are few."""
    share = (order_raises.c.order_sha256, order_raises.c.station)
    query = select(*share, func.sum(order_raises.c.units).label("units")).group_by(*share)
    with database.read() as connection:
        return {(row.order_sha256, row.station): int(row.units) for row in connection.execute(query)}


def _orders(
    database: Database, said: Tally, raised: dict[_Share, int], before: _Counts, after: _Counts
) -> Iterator[Finding]:
    shares: dict[str, set[str]] = {}
    for order_sha256, station in (*after.shares, *said.shares, *raised):
        shares.setdefault(order_sha256, set()).add(station)
    key = (orders.c.order_sha256,)
    for row in chunks(database, select(*key).order_by(*key), key):
        order_sha256 = row["order_sha256"]
        stations = shares.pop(order_sha256, set())
        order = _order(database, order_sha256)
        for station in sorted(stations if order else ()):
            share = (order_sha256, station)
            wanted = _wanted(order, station, said.shares.get(share, Said()), raised.get(share, 0))  # type: ignore[arg-type]
            yield from _share(share, wanted, before.shares.get(share, _NOTHING), after.shares.get(share))
    for order_sha256, stations in shares.items():
        for station in sorted(stations):
            if (order_sha256, station) in before.shares:
                yield Finding("order_counts", _place(order_sha256, station), "extra: there is no such order")


def _order(database: Database, order_sha256: str) -> WorkOrder | None:
    """The order; None for one that cannot be read, which is found by whoever looks at the orders themselves."""
    with database.read() as connection:
        paper = connection.execute(select(orders.c.envelope).where(orders.c.order_sha256 == order_sha256)).scalar_one()
    try:
        envelope = Envelope.from_json(paper)
        order = read(envelope, WorkOrder)
    except (EnvelopeError, StatementError):
        return None
    return order if envelope.payload_sha256 == order_sha256 else None


def _wanted(order: WorkOrder, station: str, said: Said, raised: int) -> Counted:
    part = order.allotted(station)
    return Counted(
        station=station, pins=said.pins, pin_limit=part.quantity + part.allowance + raised,
        completions=said.completions, completion_limit=part.quantity, scrapped=said.scrapped,
    )  # fmt: skip


def _share(share: _Share, wanted: Counted, before: Counted, after: Counted | None) -> Iterator[Finding]:
    if after is None:
        yield Finding("order_counts", _place(*share), f"missing, the rows say {wanted.pins} pins")
        return
    for name in (each.name for each in fields(Counted) if each.name != "station"):
        least, found, right = (getattr(each, name) for each in (before, after, wanted))
        if not min(least, found) <= right <= found:
            yield Finding("order_counts", _place(*share), f"{name} is {found}, order and rows say {right}")


def _stations(
    database: Database, trusted: TrustedRoot, said: Tally, before: _Counts, after: _Counts
) -> Iterator[Finding]:
    """As many pins as are counted of a station, no more than its leases allow, and none that was never looked for."""
    always_leased = all(root.lease_key is not None for root in (*(root for _, root in trusted.earlier), trusted.root))
    for station, row in sorted(after.stations.items()):
        made, earlier = said.pins_of(station), before.stations.get(station)
        if not min(0 if earlier is None else earlier.pins, row.pins) <= made <= row.pins:
            yield Finding("station_counts", station, f"pins is {row.pins}, the rows say {made}")
        granted = after.granted.get(station, 0)
        # What was pinned before the first lease, by a root that knew none, may be more than that one says.
        beyond = granted if always_leased else max(granted, made)
        if not granted <= row.up_to <= beyond:
            yield Finding("station_counts", station, f"up_to is {row.up_to}, the leases say {granted}")
        suspects = [each for each in said.unseen[station] if each["registered_at"] < row.reported_before]
        with database.read() as connection:
            unseen = unreported(connection, suspects)  # again: what was reported during the walk moved the mark
        if unseen:
            text = f"reported_before is {row.reported_before!r}, device {unseen[0]['device_id']} from before was"
            yield Finding("station_counts", station, f"{text} not reported")
    key = (leases.c.station,)
    there = exists().where(station_counts.c.station == leases.c.station)
    for each in chunks(database, select(*key).where(~there).distinct().order_by(*key), key):
        yield Finding("station_counts", each["station"], "missing, though it has leases")


def _place(order_sha256: str, station: str) -> str:
    return f"{order_sha256} station {station}"
