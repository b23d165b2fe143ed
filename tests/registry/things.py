"""What belongs to one station: an order that names no other, a device pinned under it, and one that is not pinned yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from registry.clock import stamp, utc_now
from tests.registry.approved import ADA, BEN, approved
from tests.registry.make import Device, World, signed
from tests.trust.people import approved_by
from trust.act import Act
from trust.dsse import Envelope
from trust.lease import NO_PINS, LeaseRequest
from trust.merkle import EMPTY_ROOT
from trust.statement import envelope

STATIONS = ("station-01", "station-02")


@dataclass(slots=True)
class Things:
    """One station's. `pinned` is the device whose statement the registry holds."""

    station: str
    made: World
    pinned: Device = field(default_factory=Device)
    fresh: Device = field(default_factory=Device)
    statement: Envelope = field(init=False)
    order: Envelope = field(init=False)

    def __post_init__(self) -> None:
        self.made = self.made.with_order(order_id=f"order-{self.station}", stations=[self.station])
        self.order = approved(self.made)
        self.statement = self.pin(self.pinned)

    def pin(self, device: Device) -> Envelope:
        return self.made.pin(device, order_signed=True, station=self.station)

    def completion(self) -> Envelope:
        return self.made.completion(self.pinned, self.statement, self.statement, station=self.station)

    def lease_request(self) -> Envelope:
        """A signer's first one."""
        made = LeaseRequest(
            environment="demo", root_sha256=self.made.trusted.sha256, station=self.station, serial=1, previous_sha256="",
            signed=0, total=0, head=NO_PINS, pins=(), log_size=0, log_root_hash=EMPTY_ROOT, nonce="ab" * 32,
            made_at="2026-11-22T20:00:00Z",
        )  # fmt: skip
        return signed(made, self.made.stations[self.station].account)

    def act(self) -> Envelope:
        """A fresh one, approved by two officers."""
        made = Act(
            environment="demo", root_sha256=self.made.trusted.sha256, kind="raise-allowance", signer=self.station,
            order_id=self.made.order.order_id, order_sha256=self.order.payload_sha256, units=1, nonce=secrets.token_hex(32),
            reason="spilt a tray of units", made_at=stamp(utc_now()), not_after=stamp(utc_now() + timedelta(days=1)),
        )  # fmt: skip
        return approved_by(envelope(made), ADA, BEN)


def both(made: World) -> dict[str, Things]:
    return {name: Things(name, made) for name in STATIONS}
