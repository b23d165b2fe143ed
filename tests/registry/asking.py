"""A station whose signer asks for lease after lease: its pins are rows made on the spot, its clock the registry's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
from sqlalchemy import insert

from registry.clock import stamp
from registry.database import Database
from registry.leases.service import LeaseService
from registry.pins.service import PinService
from registry.tables import orders, pins
from tests.registry.make import SoftwareReceiptSigner, World, ec_key, public, signed, world
from trust.dsse import Envelope
from trust.lease import NO_PINS, LeaseRequest, chained
from trust.merkle import EMPTY_ROOT
from trust.root import RegistryKeys

STATION = "station-01"
START = datetime(2026, 11, 22, 20, tzinfo=UTC)


@dataclass(slots=True)
class Asking:
    """What the signer has told, and what time it is."""

    database: Database
    made: World
    signer: SoftwareReceiptSigner
    now: datetime = START
    serial: int = 0
    previous: str = ""
    signed: int = 0
    head: bytes = NO_PINS
    made_pins: int = 0
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, database: Database) -> Self:
        receipt, lease = ec_key(), ec_key()
        made = world(registry_keys=RegistryKeys(receipt=public(receipt).spki, lease=public(lease).spki))
        order = made.order_envelope
        with database.write() as connection:
            row = {"order_sha256": order.payload_sha256, "order_id": "order-7", "envelope": order.to_json()}
            connection.execute(insert(orders), row)
        return cls(database, made, SoftwareReceiptSigner(made.trusted, receipt, lease_key=lease))

    @property
    def leases(self) -> LeaseService:
        return LeaseService(self.database, self.made.trusted, self.signer, now=lambda: self.now)

    @property
    def pins(self) -> PinService:
        return PinService(self.database, self.made.trusted, self.signer, now=lambda: self.now)

    def pin(self, count: int) -> list[bytes]:
        """So many rows of pins, registered now; the hashes of their statements."""
        first, self.made_pins = self.made_pins, self.made_pins + count
        numbers = range(first, first + count)
        order, at = self.made.order_envelope.payload_sha256, stamp(self.now)
        rows = [
            {
                "device_id": f"{n:024x}", "station": STATION, "job": f"{n:032x}", "fingerprint": f"{n:064x}",
                "modulus": None, "order_id": "order-7", "order_sha256": order, "statement": b"{}",
                "statement_sha256": f"{n:064x}", "registered_at": at,
            }
            for n in numbers
        ]  # fmt: skip
        with self.database.write() as connection:
            connection.execute(insert(pins), rows)
        return [n.to_bytes(32, "big") for n in numbers]

    def request(self, *pins: bytes, left: int = 0, **changes: Any) -> LeaseRequest:
        """The next request, with these hashes, and so many of which it says that it has not reported them."""
        told = self.signed + len(pins)
        made = LeaseRequest(
            environment="demo", root_sha256=self.made.trusted.sha256, station=STATION, serial=self.serial + 1,
            previous_sha256=self.previous, signed=told, total=told + left, head=chained(self.head, pins), pins=pins,
            log_size=0, log_root_hash=EMPTY_ROOT, nonce="ab" * 32, made_at=f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def sealed(self, request: LeaseRequest) -> Envelope:
        return signed(request, self.made.stations[STATION].account)

    def renew(self, *pins: bytes, left: int = 0) -> Envelope:
        """Ask, and take what is granted; an hour goes by."""
        request = self.request(*pins, left=left)
        lease = self.leases.grant(self.sealed(request))
        self.serial, self.previous, self.signed, self.head = (
            request.serial,
            lease.payload_sha256,
            request.signed,
            request.head,
        )
        self.now += timedelta(hours=1)
        return lease
