"""Leases in SQL: insert, and read back. Each function runs inside the caller's transaction. Never decides."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, insert, select, update

from registry.leases.rules import Granted
from registry.tables import lease_signatures, leases, pins, reported_pins, station_counts
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


def strangers(connection: Connection, station: str, *, since: str, but: Collection[str]) -> list[str]:
    """Devices that were pinned under this station's signature before `since`, and were never reported by its signer."""
    reported = select(reported_pins.c.statement_sha256).where(reported_pins.c.station == station)
    rows = connection.execute(
        select(pins.c.device_id, pins.c.statement_sha256)
        .where(pins.c.station == station, pins.c.registered_at < since, pins.c.statement_sha256.not_in(reported))
        .order_by(pins.c.device_id)
    )
    return [row.device_id for row in rows if row.statement_sha256 not in but]


def insert_lease(connection: Connection, request: LeaseRequest, asked: Envelope, lease: Lease) -> None:
    """Store request and lease, what was reported, and how many pins the station may have; IntegrityError if taken."""
    connection.execute(
        insert(leases),
        {
            "station": request.station, "serial": request.serial, "request_sha256": asked.payload_sha256,
            "request": asked.to_json(), "lease": envelope(lease).to_json(), "signed": request.signed,
            "up_to": lease.up_to, "head": request.head, "log_size": request.log_size,
            "log_root_hash": request.log_root_hash, "granted_at": lease.granted_at,
        },
    )  # fmt: skip
    first = request.signed - len(request.pins) + 1
    if request.pins:
        connection.execute(
            insert(reported_pins),
            [
                {"station": request.station, "number": number, "statement_sha256": each.hex()}
                for number, each in enumerate(request.pins, first)
            ],
        )
    changed = connection.execute(
        update(station_counts).where(station_counts.c.station == request.station).values(up_to=lease.up_to)
    )
    if changed.rowcount == 0:
        there = connection.execute(select(pins.c.device_id).where(pins.c.station == request.station)).all()
        row = {"station": request.station, "pins": len(there), "up_to": max(lease.up_to, len(there))}
        connection.execute(insert(station_counts), row)


def count_pin(connection: Connection, station: str) -> bool:
    """Count one more pin of the station, in the transaction that stores it; False beyond its leases."""
    counted = connection.execute(
        update(station_counts)
        .where(station_counts.c.station == station, station_counts.c.pins < station_counts.c.up_to)
        .values(pins=station_counts.c.pins + 1)
    )
    return counted.rowcount == 1


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
