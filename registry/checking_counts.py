"""The counts that the database decides by, recomputed: each column of each row, and the rows that should be there.

An order's counts are what its pins, its completions, the acts on them and the acts of officers say; a station's are
what its pins and leases say. Looks at one order in one view, so that what is pinned meanwhile is no finding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from sqlalchemy import Connection, exists, func, select

from registry.checking_chunks import chunks
from registry.database import Database
from registry.orders import counts
from registry.orders.counts import Counted
from registry.pins.finding import Finding
from registry.tables import (
    completions,
    leases,
    order_counts,
    order_raises,
    orders,
    pin_acts,
    pins,
    reported_pins,
    station_counts,
)
from trust.dsse import Envelope, EnvelopeError
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import Completion, StatementError, read

_AT_A_TIME = 200  # completions, of a few kilobytes each


@dataclass(slots=True)
class _Said:
    """What the rows that are counted say of one station's part of one order."""

    pins: int = 0
    raised: int = 0
    completions: int = 0
    scrapped: int = 0

    def counted(self, order: WorkOrder, station: str) -> Counted:
        """The row that should be there."""
        part = order.allotted(station)
        return Counted(
            station=station, pins=self.pins, pin_limit=part.quantity + part.allowance + self.raised,
            completions=self.completions, completion_limit=part.quantity, scrapped=self.scrapped,
        )  # fmt: skip


def order_count_findings(database: Database) -> Iterator[Finding]:
    """Each order's counts, and those of no order."""
    for row in chunks(
        database, select(orders.c.order_sha256).order_by(orders.c.order_sha256), (orders.c.order_sha256,)
    ):
        with database.read() as connection:
            found = list(_order(connection, row["order_sha256"]))
        yield from found
    key = (order_counts.c.order_sha256, order_counts.c.station)
    stray = select(*key).where(~exists().where(orders.c.order_sha256 == order_counts.c.order_sha256)).order_by(*key)
    for row in chunks(database, stray, key):
        yield Finding("order_counts", _place(row["order_sha256"], row["station"]), "extra: there is no such order")


def _order(connection: Connection, order_sha256: str) -> Iterator[Finding]:
    paper = connection.execute(select(orders.c.envelope).where(orders.c.order_sha256 == order_sha256)).scalar_one()
    try:
        envelope = Envelope.from_json(paper)
        order = read(envelope, WorkOrder)
    except (EnvelopeError, StatementError):
        return  # found by whoever looks at the orders themselves
    if envelope.payload_sha256 != order_sha256:
        return
    held = {each.station: each for each in counts.counted(connection, order_sha256)}
    said = _said(connection, order_sha256)
    for station in sorted(held.keys() | said.keys()):
        wanted, place = said[station].counted(order, station), _place(order_sha256, station)
        if station not in held:
            yield Finding("order_counts", place, f"missing, the rows say {wanted.pins} pins")
            continue
        for each in fields(Counted):
            found, right = getattr(held[station], each.name), getattr(wanted, each.name)
            if found != right:
                yield Finding("order_counts", place, f"{each.name} is {found}, order and rows say {right}")


def _said(connection: Connection, order_sha256: str) -> defaultdict[str, _Said]:
    said: defaultdict[str, _Said] = defaultdict(_Said)
    made = select(pins.c.station, func.count()).where(pins.c.order_sha256 == order_sha256).group_by(pins.c.station)
    for station, number in connection.execute(made):
        said[station].pins = number
    raises = (
        select(order_raises.c.station, func.sum(order_raises.c.units))
        .where(order_raises.c.order_sha256 == order_sha256)
        .group_by(order_raises.c.station)
    )
    for station, units in connection.execute(raises):
        said[station].raised = int(units)
    for station, number in _completed(connection, order_sha256, scrapped=False).items():
        said[station].completions = number
    for station, number in _completed(connection, order_sha256, scrapped=True).items():
        said[station].scrapped = number
    return said


def _completed(connection: Connection, order_sha256: str, *, scrapped: bool) -> Mapping[str, int]:
    """How many devices of the order each station has completed; of those, how many were ever scrapped."""
    query = (
        select(completions.c.statement)
        .join(pins, pins.c.device_id == completions.c.device_id)
        .where(pins.c.order_sha256 == order_sha256)
    )
    if scrapped:
        query = query.where(exists().where(pin_acts.c.device_id == completions.c.device_id, pin_acts.c.kind == "scrap"))
    rows = connection.execute(query.execution_options(yield_per=_AT_A_TIME)).scalars()
    return Counter(station for station in map(_station, rows) if station)


def _station(completion: bytes) -> str:
    """Whose completion it is; empty if it cannot be read, which is found with its device."""
    try:
        return read(Envelope.from_json(completion), Completion).station
    except (EnvelopeError, StatementError):
        return ""


def station_count_findings(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """As many pins as are counted of a station, no more than its leases allow, and none that was never looked for."""
    always_leased = all(root.lease_key is not None for root in (*(root for _, root in trusted.earlier), trusted.root))
    of_station = pins.c.station == station_counts.c.station
    made = select(func.count()).where(of_station).scalar_subquery()
    most = select(func.max(leases.c.up_to)).where(leases.c.station == station_counts.c.station).scalar_subquery()
    reported = exists().where(
        reported_pins.c.station == pins.c.station, reported_pins.c.statement_sha256 == pins.c.statement_sha256
    )
    unseen = select(func.min(pins.c.device_id)).where(
        of_station, pins.c.registered_at < station_counts.c.reported_before, ~reported
    )
    query = select(
        station_counts, made.label("made"), most.label("most"), unseen.scalar_subquery().label("unseen")
    ).order_by(station_counts.c.station)
    for row in chunks(database, query, (station_counts.c.station,)):
        granted, up_to, station = row["most"] or 0, row["up_to"], row["station"]
        if row["pins"] != row["made"]:
            yield Finding("station_counts", station, f"pins is {row['pins']}, the rows say {row['made']}")
        # What was pinned before the first lease, by a root that knew none, may be more than that one says.
        beyond = granted if always_leased else max(granted, row["made"])
        if not granted <= up_to <= beyond:
            yield Finding("station_counts", station, f"up_to is {up_to}, the leases say {granted}")
        if row["unseen"] is not None:
            text = f"reported_before is {row['reported_before']!r}, device {row['unseen']} from before was not reported"
            yield Finding("station_counts", station, text)
    key = (leases.c.station,)
    missing = (
        select(*key).where(~exists().where(station_counts.c.station == leases.c.station)).distinct().order_by(*key)
    )
    for row in chunks(database, missing, key):
        yield Finding("station_counts", row["station"], "missing, though it has leases")


def _place(order_sha256: str, station: str) -> str:
    return f"{order_sha256} station {station}"
