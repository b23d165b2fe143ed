"""How many more units of an order may be begun here: none that could not be completed any more.

A unit that is begun in vain is signed for, pinned and locked for good, and the next order cannot take it. Counts what
this station knows; the signer's count is the one that binds. Never waits, never remembers beyond the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from station.events import Verdict
from station.faults import fault
from trust.identity import DeviceId


class Headroom:
    """Of one order: units that have passed, are held, and are in work now, against its quantity.

    `held` are also those whose completion may have been signed: nobody but the signer can tell, and it counts them.
    """

    def __init__(self, quantity: int, *, passed: int, held: Iterable[DeviceId] = ()) -> None:
        self._quantity = quantity
        self._passed = passed
        self._held = set(held)
        self._in_work: dict[DeviceId, Place] = {}

    def take(self, device: DeviceId, *, begun: bool) -> Place | None:
        """One unit more, now in work; the faults `order-exhausted` or `order-full` if there is no room for it.

        `begun`: its statement is on record already, so it goes on in any case. None if another slot has the device.
        """
        if device in self._in_work:
            return None
        taken = self._passed + len((self._held | self._in_work.keys()) - {device})
        if not begun and taken >= self._quantity:
            if self._passed >= self._quantity:
                raise fault("order-exhausted", f"all {self._quantity} units have passed")
            raise fault("order-full", f"{self._passed} of {self._quantity} have passed, the others are begun")
        place = self._in_work[device] = Place(self, device)
        return place

    def leave(self, place: Place) -> bool:
        """The unit is not in work any more; False if this place was left before."""
        if self._in_work.get(place.device) is not place:
            return False
        del self._in_work[place.device]
        return True

    def count(self, device: DeviceId) -> None:
        """One more has passed."""
        self._passed += 1
        self._held.discard(device)

    def hold(self, device: DeviceId, *, held: bool) -> None:
        """Whether the unit is waited for though it is not in work."""
        (self._held.add if held else self._held.discard)(device)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A unit's share of the room, kept from one attempt to the next that follows: only who took it gives it back."""

    room: Headroom
    device: DeviceId

    def passed(self) -> None:
        """Its completion is on record now: it counts, whatever becomes of lamp and verdict."""
        self.room.leave(self)
        self.room.count(self.device)

    def give_back(self, verdict: Verdict, *, proved: bool, last_step: bool = False) -> None:
        """The attempt has ended, and none follows at once.

        `proved`: the unit has proved its key, so the verdict is on the unit itself; `last_step`: its completion may
        have been signed.
        """
        if not self.room.leave(self):
            return
        if verdict is Verdict.HELD or (last_step and verdict is not Verdict.QUARANTINE):
            self.room.hold(self.device, held=True)
        if verdict is Verdict.QUARANTINE and proved:
            self.room.hold(self.device, held=False)

    def drop(self) -> None:
        """Another unit came in its stead: nothing is known of this one."""
        self.room.leave(self)
