"""How many more units of an order may be begun here: none that could not be completed any more.

A unit that is begun in vain is signed for, pinned and locked for good, and the next order cannot take it. Counts what
this station knows; the signer's count is the one that binds. Never waits, never remembers beyond the batch.
"""

from __future__ import annotations

from collections.abc import Iterable

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

    def take(self, device: DeviceId, *, signed: bool) -> None:
        """One unit more, now in work; the faults `order-exhausted` or `order-full` if there is no room for it.

        `signed`: its pin statement is signed already, so it goes on in any case.
        """
        taken = self._passed + len((self._held | self._in_work) - {device})
        if not signed and device not in self._held and taken >= self._quantity:
            if self._passed >= self._quantity:
                raise fault("order-exhausted", f"all {self._quantity} units have passed")
            raise fault("order-full", f"{self._passed} of {self._quantity} have passed, the others are begun")
        self._in_work.add(device)

    def give_back(self, device: DeviceId, verdict: Verdict, *, counted: bool) -> None:
        """The unit is not in work any more. `counted`: it had passed before, and is in the count already."""
        if device not in self._in_work:
            return
        self._in_work.discard(device)
        if verdict is Verdict.HELD:
            self._held.add(device)
        if verdict in {Verdict.PASS, Verdict.QUARANTINE}:
            self._held.discard(device)
        self._passed += verdict is Verdict.PASS and not counted
