"""What the rows say that are counted, tallied in one walk over all pins. Never compares, and never mends anything.

A page of devices after the other, each in a view of its own: no registry that serves meanwhile waits for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select

from registry.checking.chunks import pages
from registry.database import Database
from registry.pins.rows import Row
from registry.tables import completions, pin_acts, pins, reported_pins
from trust.dsse import Envelope, EnvelopeError
from trust.statement import Completion, StatementError, read

_SUSPECTS: Final = 20


@dataclass(slots=True)
class Said:
    """What the rows that are counted say of one station's part of one order."""

    pins: int = 0
    completions: int = 0
    scrapped: int = 0


@dataclass(slots=True)
class Tally:
    """What all rows say: by order and station; and by station some pins that should have been reported, and are not."""

    shares: defaultdict[tuple[str, str], Said] = field(default_factory=lambda: defaultdict(Said))
    unseen: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def pins_of(self, station: str) -> int:
        """How many pins the station has made."""
        return sum(said.pins for (_, each), said in self.shares.items() if each == station)


def tally(database: Database, reported_before: Mapping[str, str]) -> Tally:
    """Walk over all pins; those from before their station's mark should have been reported."""
    made = Tally()
    query = (
        select(
            pins.c.device_id, pins.c.station, pins.c.order_sha256, pins.c.statement_sha256, pins.c.registered_at,
            completions.c.statement.label("completion"),
        )
        .outerjoin_from(pins, completions, completions.c.device_id == pins.c.device_id)
        .order_by(pins.c.device_id)
    )  # fmt: skip
    for page in pages(database, query, (pins.c.device_id,)):
        completed = [row["device_id"] for row in page if row["completion"] is not None]
        old = [row for row in page if row["registered_at"] < reported_before.get(row["station"], "")]
        with database.read() as connection:
            scrapped = _scrapped(connection, completed)
            unseen = unreported(connection, old)
        for row in page:
            made.shares[row["order_sha256"], row["station"]].pins += 1
            station = "" if row["completion"] is None else _station(row["completion"])
            if station:
                said = made.shares[row["order_sha256"], station]
                said.completions += 1
                said.scrapped += row["device_id"] in scrapped
        for row in unseen:
            if len(made.unseen[row["station"]]) < _SUSPECTS:
                made.unseen[row["station"]].append(row)
    return made


def unreported(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Those of these pins that no request for a lease has reported."""
    found: list[Row] = []
    for station in sorted({row["station"] for row in rows}):
        mine = [row for row in rows if row["station"] == station]
        query = select(reported_pins.c.statement_sha256).where(
            reported_pins.c.station == station,
            reported_pins.c.statement_sha256.in_([row["statement_sha256"] for row in mine]),
        )
        told = set(connection.execute(query).scalars())
        found += [row for row in mine if row["statement_sha256"] not in told]
    return found


def _scrapped(connection: Connection, devices: Sequence[str]) -> set[str]:
    """Those of these devices that were ever scrapped."""
    query = select(pin_acts.c.device_id).where(pin_acts.c.device_id.in_(devices), pin_acts.c.kind == "scrap")
    return set(connection.execute(query).scalars())


def _station(completion: bytes) -> str:
    """Whose completion it is; empty if it cannot be read, which is found with its device."""
    try:
        return read(Envelope.from_json(completion), Completion).station
    except (EnvelopeError, StatementError):
        return ""
