"""How many more units of an order may be begun here: none that could not be completed any more.

A unit that is begun in vain is signed for, pinned and locked for good, and the next order cannot take it. Counts what
this station knows; the signer's count is the one that binds. Never waits, never remembers beyond the batch.
"""

from __future__ import annotations

from collections.abc import Iterable

from station.events import Step, UnitFinished, Verdict
from station.faults import fault
from station.held import of_the_unit
from station.intents import refused
from trust.identity import DeviceId

_NAMED = 3


class Headroom:
    """Of one order: units that have passed, are held, may be counted by the signer, or are in work, against quantity.

    At its making: `passed` units, those `held`, and those that the signer was `asked` to sign for or to complete, its
    answer not on record. A slot has one unit in work, and keeps its room between a failure and the next attempt.
    """

    def __init__(
        self, quantity: int, *, passed: int = 0, held: Iterable[DeviceId] = (), asked: Iterable[DeviceId] = ()
    ) -> None:
        self._quantity = quantity
        self._passed_before = passed
        self._passed: set[DeviceId] = set()
        self._held = set(held)
        self._asked = set(asked)
        self._in_work: dict[str, DeviceId] = {}

    def enter(self, slot: str, device: DeviceId, *, intended: bool) -> None:
        """The slot's unit is in work from now on; the fault `order-full` if there is no room for it.

        `intended`: the signer may have signed for it, which only asking can tell, so it goes on in any case. An id that
        another slot has in work takes no room twice.
        """
        self._in_work.pop(slot, None)  # an attempt that follows at once, or another unit
        passed = self._passed_before + len(self._passed)
        others = (self._held | self._asked | set(self._in_work.values())) - self._passed - {device}
        if not intended and passed + len(others) >= self._quantity:
            begun = f"; begun: {_named(others)}" if others else ""
            raise fault("order-full", f"{passed} of {self._quantity} have passed{begun}")
        self._in_work[slot] = device

    def asks(self, device: DeviceId) -> None:
        """The signer is asked to sign for it, or to complete it: from now on it may count the unit."""
        self._asked.add(device)

    def signed(self, device: DeviceId) -> None:
        """Its pin statement is on record: what becomes of it now is its own affair."""
        self._asked.discard(device)

    def passed(self, device: DeviceId) -> None:
        """Its completion is on record: it counts, whatever becomes of lamp and verdict. Once, however often told."""
        self._passed.add(device)

    def leave(self, slot: str, result: UnitFinished) -> None:
        """The slot's unit has its verdict, and no attempt follows at once."""
        device = self._in_work.pop(slot, None)
        if device is None or result.device_id != str(device):  # another unit came in its stead, or nobody answered
            return
        if result.verdict is Verdict.HELD:
            self._held.add(device)
        if result.verdict is Verdict.QUARANTINE and of_the_unit(result.code, result.step or ""):
            self._held.discard(device)
        if result.step in {Step.SIGNED, Step.PASSED} and refused(result.step, result.code):
            self._asked.discard(device)


def _named(devices: Iterable[DeviceId]) -> str:
    names = sorted(str(each) for each in devices)
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
