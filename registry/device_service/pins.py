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
from trust.root import TrustedRoot


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

    def _at_its_bench(self, reading: Reading) -> bool:
        return bool(self.station) and self.station in reading.papers.order.stations
