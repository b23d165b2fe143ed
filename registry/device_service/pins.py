"""Which keys devices may come with: what the registry proves about their pins now, and no row is believed.

Two ways in: from the field, where a pin must be active; and by a station's bench relay, where a provisional one will do
if its order names that station. Reads only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from registry.clock import utc_now
from registry.database import Database
from registry.pins.acts_store import repinned_for
from registry.pins.reading import Reading, current
from registry.pins.rows import of_device
from registry.tables import pins
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import PinStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPin:
    """The one pin that a relayed handshake is about, with the statement and the order that prove it."""

    device_id: DeviceId
    spki: bytes
    pin: PinStatement
    order: WorkOrder

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """As `RegistryPins` has it: this device's key, and nobody else's."""
        return (self.spki,) if device == self.device_id else ()

    def good(self, spki: bytes) -> DeviceId | None:
        """As `RegistryPins` has it."""
        return self.device_id if spki == self.spki else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPins:
    """The pins of a registry's database. `station` of the bench relay that asks; empty for the field.

    UntrustedError when what is stored about a device does not verify.
    """

    database: Database
    trusted: TrustedRoot
    station: str = ""
    now: Callable[[], datetime] = utc_now

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """DER SubjectPublicKeyInfo of the keys that are good now, the newest first; empty for none."""
        with self.database.read() as connection:
            rows = of_device(connection, str(device))
        if rows is None:
            return ()
        reading = current(rows, self.trusted, self.now())
        good = reading.good
        if not good and self._at_its_bench(reading):
            good = tuple(each for each in reading.keys if each.state == "provisional")
        return tuple(each.key.spki for each in reversed(good))

    def good(self, spki: bytes) -> DeviceId | None:
        """Whose DER SubjectPublicKeyInfo this is, if the device may come with it now; None for nobody's."""
        fingerprint = hashlib.sha256(spki).hexdigest()
        with self.database.read() as connection:
            rows = {*connection.scalars(select(pins.c.device_id).where(pins.c.fingerprint == fingerprint))}
            rows |= {*repinned_for(connection, fingerprint, None)}
        owners = (DeviceId.parse(each) for each in sorted(rows))
        return next((each for each in owners if spki in self.keys_of(each)), None)

    def at_bench(self, device: DeviceId, job: str, protocol: str) -> BenchPin | None:
        """The device's pin of this very job, provisional or active; None without one, or if it is not for this bench.

        It is if its order names the station and has the protocol for its service. A key that came later has no job.
        """
        with self.database.read() as connection:
            rows = of_device(connection, str(device))
        if rows is None:
            return None
        reading = current(rows, self.trusted, self.now())
        pin, order = reading.papers.pin, reading.papers.order
        first = next((each for each in reading.keys if each.key.fingerprint == pin.fingerprint), None)
        if first is None or first.state not in {"provisional", "active"}:
            return None
        if (pin.job, order.service) != (job, protocol) or not self._at_its_bench(reading):
            return None
        return BenchPin(device_id=device, spki=first.key.spki, pin=pin, order=order)

    def _at_its_bench(self, reading: Reading) -> bool:
        return bool(self.station) and self.station in reading.papers.order.stations
