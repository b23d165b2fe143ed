"""What a row of the fault table is: what happens next, sentence, remedy, exit code. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from station.events import Verdict
from station.exits import Exit


class Disposition(StrEnum):
    """What happens to the unit, or to the line."""

    RETRY = "retry"
    NOT_HERE = "not-here"
    HOLD = "hold"
    QUARANTINE = "quarantine"
    LINE_STOP = "line-stop"
    SETUP = "setup"


VERDICTS = MappingProxyType(
    {
        Disposition.RETRY: Verdict.FAIL,
        Disposition.NOT_HERE: Verdict.FAIL,
        Disposition.HOLD: Verdict.HELD,
        Disposition.QUARANTINE: Verdict.QUARANTINE,
        Disposition.LINE_STOP: Verdict.FAIL,
        Disposition.SETUP: Verdict.FAIL,
    }
)
"""What a screen says of a unit then."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault: how it is shown and what it does to the exit code."""

    disposition: Disposition
    sentence: str
    remedy: str
    exit_code: Exit | None = None

    @property
    def exit(self) -> Exit:
        """The exit code that this fault asks for; a quarantined unit is 3 unless the row says more."""
        default = Exit.QUARANTINED if self.disposition is Disposition.QUARANTINE else Exit.UNIT_FAILED
        return default if self.exit_code is None else self.exit_code
