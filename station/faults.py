"""Faults, classed by what must happen next. What each code means is in `station.fault_table`.

Never prints and never retries.
"""

from __future__ import annotations

from station.disposition import Disposition, Row
from station.fault_table import TABLE


class Fault(Exception):  # noqa: N818 - the trade says fault
    """Something that ends a step. Raised only through `fault()`; `detail` is the leaf's own text."""

    def __init__(self, code: str, row: Row, detail: str) -> None:
        super().__init__(f"{row.sentence} ({detail})" if detail else row.sentence)
        self.code = code
        self.row = row
        self.detail = detail


class UnitFault(Fault):
    """Retry: nothing is wrong for good. Amber."""


class UnitNotHere(UnitFault):
    """Nothing is wrong with unit or slot, but not here or not now. Amber; trying again at once is of no use."""


class UnitHeld(UnitFault):
    """Signed and not finished for want of the WAN: own lamp, own bin."""


class UnitConflict(Fault):
    """Quarantine: something differs that must not. Red."""


class OutcomeUnknown(UnitConflict):
    """A write was not answered and cannot be read back: never 'retry and see'."""


class LineStop(Fault):
    """All slots stop at their next step boundary."""


class SetupError(Fault):
    """Nothing was started."""


_R, _N, _H, _Q, _L, _S = Disposition
_CLASSES = {_R: UnitFault, _N: UnitNotHere, _H: UnitHeld, _Q: UnitConflict, _L: LineStop, _S: SetupError}


def fault(code: str, detail: str = "") -> Fault:
    """The fault of this code; a code that is not in the table is a bug (KeyError)."""
    row = TABLE[code]
    kind = OutcomeUnknown if code == "outcome-unknown" else _CLASSES[row.disposition]
    return kind(code, row, detail)
