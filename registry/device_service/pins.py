"""Which keys devices may come with: what the registry proves about their pins now, and no row is believed.

Two ways in: from the field, where a pin must be active; and by a station's bench relay, where a provisional one will do
if its order names that station. Reads only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import BindParameter, bindparam, select, union

from registry.clock import utc_now
from registry.database import Database
from registry.pins.reading import PinnedKey, Reading, current
from registry.pins.rows import Mark, mark_of, of_device
from registry.tables import pin_acts, pins
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import PinStatement

_REMEMBERED: Final = 16_384  # devices, about 2 KB each
_FINGERPRINT: Final[BindParameter[str]] = bindparam("fingerprint")
_OWNERS: Final = union(
    select(pins.c.device_id).where(pins.c.fingerprint == _FINGERPRINT),
    select(pin_acts.c.device_id).where(pin_acts.c.new_fingerprint == _FINGERPRINT),
)


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


@dataclass(slots=True)
class _Held:
    """What one device's record has proved, and how far it went then."""

    known: tuple[Mark | None, tuple[PinnedKey, ...]] = (None, ())


class RegistryPins:
    """The pins of a registry's database. UntrustedError when what is stored about a device does not verify.

    What was verified once is not verified again as long as the device's record goes no further: all that is ever done
    to a pin is added to it. So much memory is given to it and no more. For any number of threads.
    """

    def __init__(self, database: Database, trusted: TrustedRoot, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database, self._trusted, self._now = database, trusted, now
        self._held = lru_cache(_REMEMBERED)(lambda _device: _Held())

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """DER SubjectPublicKeyInfo of the keys that are good in the field now, the newest first; empty for none."""
        with self._database.read() as connection:
            mark = mark_of(connection, str(device))
        if mark is None:
            return ()
        held = self._held(device)
        upto, keys = held.known
        if upto != mark:  # or it goes less far, as somebody took something away
            reading = self._reading(device)
            keys = () if reading is None else reading.keys
            held.known = mark, keys
        now = self._now()
        return tuple(each.key.spki for each in reversed(keys) if each.at(now).is_good)

    def good(self, spki: bytes) -> DeviceId | None:
        """Whose DER SubjectPublicKeyInfo this is, if the device may come with it now; None for nobody's."""
        with self._database.read() as connection:
            found = connection.scalars(_OWNERS, {"fingerprint": hashlib.sha256(spki).hexdigest()}).all()
        owners = (DeviceId.parse(each) for each in sorted(found))
        return next((each for each in owners if spki in self.keys_of(each)), None)

    def at_bench(self, station: str, device: DeviceId, job: str, protocol: str) -> BenchPin | None:
        """The device's pin of this very job, provisional or active; None without one, or if it is not for this bench.

        It is if its order names the station and has the protocol for its service. A key that came later has no job.
        """
        reading = self._reading(device)
        if reading is None:
            return None
        pin, order = reading.papers.pin, reading.papers.order
        first = next((each for each in reading.keys if each.key.fingerprint == pin.fingerprint), None)
        if first is None or first.state not in {"provisional", "active"}:
            return None
        if (pin.job, order.service) != (job, protocol) or station not in order.stations:
            return None
        return BenchPin(device_id=device, spki=first.key.spki, pin=pin, order=order)

    def _reading(self, device: DeviceId) -> Reading | None:
        with self._database.read() as connection:
            rows = of_device(connection, str(device))
        return None if rows is None else current(rows, self._trusted, self._now())
