"""The registry's own count of an order, a row a station's allotment: one UPDATE decides, in the pin's transaction.

The allotments of an order add up to no more than the order has (`trust.order.check`), so what no station exceeds the
order does not either, and stations never wait for each other's rows. Never reads a count before it writes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, TextClause, select, text, update

from registry.tables import order_counts as counts
from trust.order import Allotment, WorkOrder


@dataclass(frozen=True, slots=True)
class Share:
    """One station's part of one order: whose numbers are counted."""

    order_id: str
    order_sha256: str
    station: str
    part: Allotment

    @classmethod
    def of(cls, order: WorkOrder, order_sha256: str, station: str) -> Self:
        """The part that the order allots to the station; nothing for one that it does not name."""
        return cls(order.order_id, order_sha256, station, order.allotted(station))

    @property
    def key(self) -> dict[str, str]:
        """The row's primary key."""
        return {"order_sha256": self.order_sha256, "station": self.station}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is counted of a share, and what it may be."""

    station: str
    pins: int
    pin_limit: int
    completions: int
    completion_limit: int
    scrapped: int


def take_pins(connection: Connection, share: Share, units: int = 1) -> bool:
    """Count so many pins, which this transaction has inserted; False, nothing counted, beyond quantity + allowance."""
    return _counted(connection, _TAKE_PINS, share, units)


def take_completions(connection: Connection, share: Share, units: int = 1) -> bool:
    """Count so many completions, which this transaction has inserted; False, nothing counted, beyond the quantity."""
    return _counted(connection, _TAKE_COMPLETIONS, share, units)


def free_place(connection: Connection, order_sha256: str, station: str) -> None:
    """A device that this station had completed is out for good: one more may be completed in its place."""
    row = (counts.c.order_sha256 == order_sha256) & (counts.c.station == station)
    connection.execute(update(counts).where(row).values(scrapped=counts.c.scrapped + 1))


def raise_limit(connection: Connection, share: Share, units: int) -> None:
    """So many more pins may be made: officers have said so."""
    _counted(connection, _RAISE, share, units)


def counted(connection: Connection, order_sha256: str) -> tuple[Counted, ...]:
    """What is counted of an order, by station."""
    rows = connection.execute(
        select(counts).where(counts.c.order_sha256 == order_sha256).order_by(counts.c.station)
    ).mappings()
    return tuple(Counted(**{name: row[name] for name in Counted.__slots__}) for row in rows)


_WHERE = "WHERE order_sha256 = :order_sha256 AND station = :station"
_TAKE_PINS = text(f"UPDATE order_counts SET pins = pins + :units {_WHERE} AND pins + :units <= pin_limit")  # noqa: S608 - constant text
_TAKE_COMPLETIONS = text(
    f"UPDATE order_counts SET completions = completions + :units {_WHERE} "  # noqa: S608 - constant text
    "AND completions + :units - scrapped <= completion_limit"
)
_RAISE = text(f"UPDATE order_counts SET pin_limit = pin_limit + :units {_WHERE}")  # noqa: S608 - constant text
_BEGIN = text(
    "INSERT INTO order_counts (order_sha256, station, pins, pin_limit, completions, completion_limit, scrapped) "  # noqa: S608 - constant text
    "SELECT CAST(:order_sha256 AS TEXT), CAST(:station AS TEXT), 0, CAST(:pin_limit AS BIGINT), 0, "
    "CAST(:completion_limit AS BIGINT), 0 "
    f"WHERE NOT EXISTS (SELECT 1 FROM order_counts {_WHERE}) ON CONFLICT DO NOTHING"
)


def _counted(connection: Connection, statement: TextClause, share: Share, units: int) -> bool:
    values = {**share.key, "units": units}
    if connection.execute(statement, values).rowcount == 1:
        return True
    _begin(connection, share)  # the first unit of this share, or one too many: the second look tells
    return connection.execute(statement, values).rowcount == 1


def _begin(connection: Connection, share: Share) -> None:
    """Make the share's row, unless it is there; the first of two transactions makes it, the other waits for that."""
    quantity, allowance = share.part.quantity, share.part.allowance
    limits = {"pin_limit": quantity + allowance, "completion_limit": quantity}
    connection.execute(_BEGIN, {**share.key, **limits})
