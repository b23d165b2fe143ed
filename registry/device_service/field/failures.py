"""Handshakes counted: in vain by where they come from and by the device that they name, and all others by their device.

Each costs when it begins and gives back when its device has proved itself, so that a whole fleet behind one address is
no stranger. A device that was here lately from the same place has a lane of its own: who tries its id from elsewhere
uses up none of it. Who proves itself again and again has a bound, too, which nobody else can use up: each time costs
the signer its work and the database two rows. Tables of fixed size; never knows why one failed.
"""

from __future__ import annotations

from typing import Final

from registry.limits.admitted import Admitted
from registry.limits.buckets import Buckets, Rate
from registry.limits.rates import network
from trust.identity import DeviceId

PLACE: Final = Rate(10, 1_000)
"""Of one address, or one network of IPv6: a carrier may have all its devices behind it, and an outage lets them go."""
DEVICE: Final = Rate(0.2, 20)
"""Of one device id from one place."""
DEVICE_ANYWHERE: Final = Rate(1, 50)
"""And from all places where it was not seen lately, together."""
COMES: Final = Rate(1 / 30, 30)
"""Of one device that proves itself, from anywhere."""
_REMEMBERED: Final = 65_536


class Failures:
    """Of one process. `factor` is for all rates, 0 for none. Safe to call from many threads."""

    def __init__(
        self, places: Rate = PLACE, devices: Rate = DEVICE, anywhere: Rate = DEVICE_ANYWHERE, comes: Rate = COMES,
        *, factor: float = 1.0,
    ) -> None:  # fmt: skip
        several = factor or 1e6  # so many that nobody is counted out
        self._place, self._device, self._anywhere, self._comes = (
            Rate(each.per_s * several, each.burst * several) for each in (places, devices, anywhere, comes)
        )
        self._places, self._devices, self._came = Buckets(), Buckets(2 * _REMEMBERED), Buckets(_REMEMBERED)
        self._seen = Admitted(_REMEMBERED, good_for_s=86_400.0)

    def begins(self, host: str) -> bool:
        """Whether a handshake from there is begun; it is then counted."""
        return self._places.take((network(host),), self._place) == 0.0

    def names(self, host: str, device: DeviceId) -> bool:
        """Whether a handshake that names this device goes on; it is then counted."""
        place, name = network(host), str(device)
        if self._came.full_in_s((name,), self._comes) > 0:
            return False
        if self._devices.take((name, place), self._device) > 0:
            return False
        return self._seen.knows(f"{name} {place}") or self._devices.take((name,), self._anywhere) == 0.0

    def proved(self, host: str, device: DeviceId) -> None:
        """It has come to something: what it cost is given back, and the device is known there."""
        place, name = network(host), str(device)
        self._places.charge((place,), self._place, -1)
        self._devices.charge((name, place), self._device, -1)
        if not self._seen.knows(f"{name} {place}"):
            self._devices.charge((name,), self._anywhere, -1)
        self._seen.remember(f"{name} {place}")
        self._came.charge((name,), self._comes, 1)
