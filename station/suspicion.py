"""When is a slot itself suspect: several different units have failed in it, one after the other. Pure; one slot each.

A unit cannot tell its own fault from its slot's, a row of units can. Never looks at a device and stops nothing.
"""

from __future__ import annotations

from station.disposition import Disposition
from station.events import SlotSuspect, UnitFinished, Verdict
from station.fault_table import TABLE

UNITS = 3
_REMEDY = "Check this slot's contacts, cable and power with a unit known to be good, then start the batch again."


class Suspicion:
    """The failures in a row of one slot."""

    def __init__(self, slot: str) -> None:
        self._slot = slot
        self._failed: list[str] = []

    def raised_by(self, unit: UnitFinished) -> SlotSuspect | None:
        """Take one verdict in; the event when it is the last that the slot gets.

        The same unit again counts once. A unit that did not say who it is counts as another one: nobody knows better.
        """
        if unit.verdict is not Verdict.FAIL or TABLE[unit.code].disposition is Disposition.NOT_HERE:
            self._failed.clear()
        elif not unit.device_id or unit.device_id not in self._failed:
            self._failed.append(unit.device_id)
        if len(self._failed) < UNITS:
            return None
        said = f"{UNITS} different units failed here one after the other: this slot is not served any more."
        return SlotSuspect(at=unit.at, slot=self._slot, count=UNITS, sentence=said, remedy=_REMEDY)
