"""How many more units of an order may be begun here: none that could not be completed any more.

A unit that is begun in vain is signed for, pinned and locked for good, and the next order cannot take it. Counts what
this station knows; the signer's count is the one that binds. Never waits, never remembers beyond the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from station.events import Step, UnitFinished, Verdict
from station.faults import fault
from station.held import of_the_unit
from station.intents import refused
from trust.identity import DeviceId

_NAMED = 3


class Headroom:
    """Of one order: units that have passed, are held, may be counted by the signer, or are in work, against quantity.

    At its making: `passed` units, those `held`, and those that the signer was `asked` to sign for (`signed`) or to
    complete (`passed`), its answer not on record; `signatures` is how many more devices it may sign for, `offline` how
    many units may be held at a time (None: any), `closed` why nothing is begun any more (None: it is), `numberless` the
    units whose pins the registry has no number for. A slot has one unit in work, and keeps its room between a failure
    and the next attempt.
    """

    def __init__(
        self, quantity: int, *, passed: int = 0, held: Iterable[DeviceId] = (),
        asked: Mapping[Step, Iterable[DeviceId]] = MappingProxyType({}), signatures: int | None = None,
        offline: int | None = None, closed: str | None = None,
        numberless: Iterable[DeviceId] = (),
    ) -> None:  # fmt: skip
        self._quantity = quantity
        self._offline = offline
        self._closed = closed
        self._numberless = set(numberless)
        self._passed_before = passed
        self._passed: set[DeviceId] = set()
        self._held = set(held)
        self._asked = {step: set(asked.get(step, ())) for step in (Step.SIGNED, Step.PASSED)}
        self._signatures = signatures
        self._unsigned: dict[str, DeviceId] = {}  # in work, by slot: to be signed for yet
        self._signed: set[DeviceId] = set()
        self._in_work: dict[str, DeviceId] = {}

    def enter(self, slot: str, device: DeviceId, *, signed_for: bool = False, intended: bool = False) -> None:
        """The slot's unit is in work from now on; the fault `order-full` if there is no room for it.

        `signed_for`: by the ledger or the registry; `intended`: the signer may have signed for it, which only asking
        tells, so it goes on in any case. An id that another slot has in work takes no room twice.
        """
        self._drop(slot)  # an attempt that follows at once, or another unit
        if not intended:
            self._require_room(device, signed_for=signed_for)
        self._in_work[slot] = device
        if not signed_for:
            self._unsigned[slot] = device

    def _require_room(self, device: DeviceId, *, signed_for: bool) -> None:
        if self._closed is not None and not signed_for:
            raise fault("order-full", self._closed)
        if self._numberless and not signed_for:  # the next pin would be one more that is signed in vain
            raise fault(
                "order-full", f"the registry has no number left for {_named(self._numberless)}, signed for here"
            )
        still_held = self._held - self._passed
        if self._offline is not None and device not in still_held and len(still_held) >= self._offline:
            raise fault("held-too-many", f"{len(still_held)} wait, the order allows {self._offline}")
        passed = self._passed_before + len(self._passed)
        known = self._held.union(*self._asked.values(), self._in_work.values())
        others = known - self._passed - {device}
        begun = f"; begun: {_named(others)}" if others else ""
        if passed + len(others) >= self._quantity:
            raise fault("order-full", f"{passed} of {self._quantity} have passed{begun}")
        waiting = self._asked[Step.SIGNED].union(self._unsigned.values()) - {device}
        if not signed_for and self._signatures is not None and self._signatures <= len(self._signed | waiting):
            raise fault("order-full", f"{passed} of {self._quantity} have passed, its allowance is used up{begun}")

    def asks(self, device: DeviceId, step: Step) -> None:
        """The signer is asked to sign for it (`signed`) or to complete it (`passed`), and may count it from now on."""
        self._asked[step].add(device)

    def signed(self, device: DeviceId) -> None:
        """Its pin statement is on record: what becomes of it now is its own affair."""
        self._asked[Step.SIGNED].discard(device)
        self._signed.add(device)

    def numberless(self, device: DeviceId) -> None:
        """The registry has counted this station's part of the order as used up, and does not take this unit's pin."""
        self._numberless.add(device)

    def numbered(self, device: DeviceId) -> None:
        """The registry has taken its pin."""
        self._numberless.discard(device)

    def passed(self, device: DeviceId) -> None:
        """Its completion is on record: it counts, whatever becomes of lamp and verdict. Once, however often told."""
        self._passed.add(device)

    def leave(self, slot: str, result: UnitFinished) -> None:
        """The slot's unit has its verdict, and no attempt follows at once."""
        device = self._drop(slot)
        if device is None or result.device_id != str(device):  # another unit came in its stead, or nobody answered
            return
        if result.step in {Step.SIGNED, Step.PASSED} and refused(result.step, result.code):
            self._asked[result.step].discard(device)
        if result.verdict is Verdict.PASS:
            return
        if of_the_unit(result.code, result.step or ""):
            (self._held.add if result.verdict is Verdict.HELD else self._held.discard)(device)
        elif device in self._signed:  # the line's fault, not the unit's: it is waited for
            self._held.add(device)

    def _drop(self, slot: str) -> DeviceId | None:
        self._unsigned.pop(slot, None)
        return self._in_work.pop(slot, None)


def _named(devices: Iterable[DeviceId]) -> str:
    names = sorted(str(each) for each in devices)
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
