"""Leases in SQL: insert, and read back. Each function runs inside the caller's transaction. Never decides."""

from __future__ import annotations

from sqlalchemy import Connection, case, exists, func, insert, select, update

from registry.database import Turn, take_turn
from registry.leases.rules import Granted
from registry.tables import lease_signatures, leases, pins, reported_pins, roots, station_counts
from trust.dsse import Envelope
from trust.lease import Lease, LeaseRequest
from trust.statement import envelope


def same(connection: Connection, station: str, serial: int, request_sha256: str) -> Envelope | None:
    """The lease of this number, if it answered this very request; signed if it is signed already."""
    row = connection.execute(
        select(leases.c.lease, lease_signatures.c.envelope)
        .outerjoin_from(
            leases,
            lease_signatures,
            (lease_signatures.c.station == leases.c.station) & (lease_signatures.c.serial == leases.c.serial),
        )
        .where(leases.c.station == station, leases.c.serial == serial, leases.c.request_sha256 == request_sha256)
    ).one_or_none()
    return None if row is None else Envelope.from_json(row.envelope or row.lease)


def last(connection: Connection, station: str) -> Granted | None:
    """The station's newest lease."""
    row = connection.execute(
        select(leases).where(leases.c.station == station).order_by(leases.c.serial.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return None
    return Granted(
        serial=row.serial, lease_sha256=Envelope.from_json(row.lease).payload_sha256, signed=row.signed,
        up_to=row.up_to, head=row.head, log_size=row.log_size, log_root_hash=row.log_root_hash,
        granted_at=row.granted_at,
    )  # fmt: skip


def newest_time(connection: Connection) -> str:
    """When the newest lease of any station was granted or the newest root was taken up; "" if there are none.

    Not the time of any pin: those are taken by a clock that nobody has compared.
    """
    newest = [select(func.max(each)) for each in (leases.c.granted_at, roots.c.taken_up_at)]
    return max(connection.execute(each).scalar_one() or "" for each in newest)


def report(connection: Connection, request: LeaseRequest) -> None:
    """Store which pin statements the signer says it has made; IntegrityError if one of them was reported before."""
    first = request.signed - len(request.pins) + 1
    if request.pins:
        connection.execute(
            insert(reported_pins),
            [
                {"station": request.station, "number": number, "statement_sha256": each.hex()}
                for number, each in enumerate(request.pins, first)
            ],
        )


def unreported(connection: Connection, station: str, *, before: str, most: int) -> list[tuple[str, str]]:
    """Pins under this station's signature from before that time that its signer never reported: device and time.

    The oldest first, so many at most. Looks at no pin that is older than the mark of `examined`.
    """
    mark = select(station_counts.c.reported_before).where(station_counts.c.station == station).scalar_subquery()
    reported = exists().where(
        reported_pins.c.station == station, reported_pins.c.statement_sha256 == pins.c.statement_sha256
    )
    rows = connection.execute(
        select(pins.c.device_id, pins.c.registered_at)
        .where(
            pins.c.station == station,
            pins.c.registered_at >= func.coalesce(mark, ""),
            pins.c.registered_at < before,
            ~reported,
        )
        .order_by(pins.c.registered_at, pins.c.device_id)
        .limit(most)
    )
    return [(row.device_id, row.registered_at) for row in rows]


def examined(connection: Connection, station: str, before: str) -> None:
    """Every pin of the station from before that time is reported: the next request begins there."""
    connection.execute(update(station_counts).where(station_counts.c.station == station).values(reported_before=before))


def insert_lease(connection: Connection, request: LeaseRequest, asked: Envelope, lease: Lease) -> None:
    """Store request and lease, and how many pins the station may have; IntegrityError if the number is taken."""
    connection.execute(
        insert(leases),
        {
            "station": request.station, "serial": request.serial, "request_sha256": asked.payload_sha256,
            "request": asked.to_json(), "lease": envelope(lease).to_json(), "signed": request.signed,
            "up_to": lease.up_to, "head": request.head, "log_size": request.log_size,
            "log_root_hash": request.log_root_hash, "granted_at": lease.granted_at,
        },
    )  # fmt: skip
    _raise_limit(connection, request.station, lease.up_to)


def _raise_limit(connection: Connection, station: str, up_to: int) -> None:
    """The station may have so many pins, and never fewer than a lease has allowed it before."""
    # No upsert: the trigger that refuses to replace a count refuses it, too. On PostgreSQL nobody can make the row
    # between our two statements, as another first lease waits at the primary key of `leases`, and pins are not let in
    # without the row: but for those of a process that still serves a root without leases, hence the turn.
    known = station_counts.c.up_to
    changed = connection.execute(
        update(station_counts)
        .where(station_counts.c.station == station)
        .values(up_to=case((known < up_to, up_to), else_=known))
    )
    if changed.rowcount == 0:
        take_turn(connection, Turn.FIRST_LEASE)
        there = connection.execute(select(func.count()).where(pins.c.station == station)).scalar_one()
        row = {"station": station, "pins": there, "up_to": max(up_to, there), "reported_before": ""}
        connection.execute(insert(station_counts), row)


def count_pin(connection: Connection, station: str, at: str, units: int = 1) -> bool:
    """Count so many more pins of the station, in the transaction that stores them; False beyond its leases.

    A pin that was registered at a time whose pins were examined (the clock was set back) has them examined again.
    """
    mark = station_counts.c.reported_before
    counted = connection.execute(
        update(station_counts)
        .where(station_counts.c.station == station, station_counts.c.pins + units <= station_counts.c.up_to)
        .values(pins=station_counts.c.pins + units, reported_before=case((mark > at, at), else_=mark))
    )
    return counted.rowcount == 1


def count_without_lease(connection: Connection, station: str, units: int) -> None:
    """Count pins that are taken under a root without leases, should the station have had one by another root.

    Such pins are beyond every lease, and are let in: so the limit moves with them.
    """
    take_turn(connection, Turn.FIRST_LEASE, shared=True)
    more, limit = station_counts.c.pins + units, station_counts.c.up_to
    connection.execute(
        update(station_counts)
        .where(station_counts.c.station == station)
        .values(pins=more, up_to=case((limit < more, more), else_=limit))
    )


def keep(connection: Connection, station: str, serial: int, signed: Envelope) -> None:
    """Keep the lease's signature; IntegrityError if there is one."""
    row = {"station": station, "serial": serial, "envelope": signed.to_json()}
    connection.execute(insert(lease_signatures), row)


def kept(connection: Connection, station: str, serial: int) -> Envelope:
    """The signature that was kept."""
    row = connection.execute(
        select(lease_signatures.c.envelope).where(
            lease_signatures.c.station == station, lease_signatures.c.serial == serial
        )
    ).one()
    return Envelope.from_json(row.envelope)
