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
    """Of one order: units that have passed, are held, and are in work now, against its quantity."""

    def __init__(self, quantity: int, *, passed: int, held: Iterable[DeviceId] = ()) -> None:
        self._quantity = quantity
        self._passed = passed
        self._held = set(held)
        self._in_work: set[DeviceId] = set()

    def take(self, device: DeviceId, *, begun: bool) -> Place | None:
        """One unit more, now in work; the faults `order-exhausted` or `order-full` if there is no room for it.

        `begun`: its statement is on record already, so it goes on in any case. None if another slot has the device.
        """
        if device in self._in_work:
            return None
        taken = self._passed + len((self._held | self._in_work) - {device})
        if not begun and taken >= self._quantity:
            if self._passed >= self._quantity:
                raise fault("order-exhausted", f"all {self._quantity} units have passed")
            raise fault("order-full", f"{self._passed} of {self._quantity} have passed, the others are begun")
        self._in_work.add(device)
        return Place(self, device)

    def passed(self, device: DeviceId) -> None:
        """The unit's completion is on record now: it counts, whatever becomes of lamp and verdict."""
        self._passed += 1
        self._held.discard(device)
        self._in_work.discard(device)

    def leave(self, device: DeviceId, verdict: Verdict, *, proved: bool) -> None:
        """The unit is not in work any more. `proved`: it has proved its key, so the verdict is on the unit itself."""
        if device not in self._in_work:
            return
        self._in_work.discard(device)
        if verdict is Verdict.HELD:
            self._held.add(device)
        if verdict is Verdict.QUARANTINE and proved:
            self._held.discard(device)


@dataclass(frozen=True, slots=True)
class Place:
    """One attempt's share of the room: only who took it gives it back."""

    room: Headroom
    device: DeviceId

    def passed(self) -> None:
        """Its completion is on record now."""
        self.room.passed(self.device)

    def give_back(self, verdict: Verdict, *, proved: bool) -> None:
        """The attempt has ended."""
        self.room.leave(self.device, verdict, proved=proved)
