"""One slot's row on the live screen: what it says while its unit is in work and when it has its verdict. Pure.

One line a slot: what to do about a fault stands once below the table, not in each row that has it.
"""

from __future__ import annotations

import time

from rich.text import Text

from station.cli.views import passed, plain_lines, unmet
from station.events import (
    AnyEvent,
    AttemptBegan,
    HandshakeWent,
    SlotSuspect,
    Step,
    StepBegan,
    UnitFinished,
    UnitSeen,
    Verdict,
)

MARKS = {
    Verdict.PASS: ("✔", "green"),
    Verdict.FAIL: ("✘", "yellow"),
    Verdict.HELD: ("‖", "cyan"),
    Verdict.QUARANTINE: ("■", "red"),
}
UNIT_WIDTH = 24
VERDICT_WIDTH = 2 + max(len(verdict) for verdict in Verdict)
_STEPS = list(Step)


class Row:
    """The state that a slot's events add up to. `keyed` stands for the step that may take minutes, if it may."""

    def __init__(self, keyed: str = "") -> None:
        self.unit = ""
        self.emulated = False
        self._keyed = keyed
        self._step: Step | None = None
        self._meeting = False
        self._began = 0.0
        self.end: UnitFinished | None = None
        self.suspect: SlotSuspect | None = None

    def take(self, event: AnyEvent) -> tuple[str, ...]:
        """Update from one event of this slot; the lines of what must give way to the slot's next attempt."""
        gone: tuple[str, ...] = ()
        match event:
            case AttemptBegan():
                if self.end is not None:
                    gone = plain_lines(self.end)
                self.unit, self.emulated, self._step, self._meeting, self.end = "", False, None, False, None
                self._began = time.monotonic()
            case UnitSeen():
                self.unit, self.emulated = event.device_id, event.emulated
            case StepBegan():
                self._step, self._meeting = event.step, False
            case HandshakeWent():
                self._meeting = not event.outcome
            case UnitFinished():
                self.end = event
            case SlotSuspect():
                self.suspect = event
        return gone

    def verdict(self) -> Text:
        """Shape, word and colour: never colour alone."""
        if self.suspect is not None:
            return Text("▲ SUSPECT", style="bold magenta")
        if self.end is None:
            return Text("…" if self._step else "")
        mark, colour = MARKS[self.end.verdict]
        return Text(f"{mark} {self.end.verdict}", style=f"bold {colour}")

    def step(self, *, bar: bool) -> str:
        """The running step with its place in the flow (as a bar, where there is room), or what became of the unit."""
        if self.suspect is not None:
            return "not served any more"
        if self.end is not None:
            return _done(self.end)
        if self._step is None:
            return "waiting for a unit"
        place, steps = _STEPS.index(self._step) + 1, len(_STEPS)
        if self._step is Step.KEYED and self._keyed:
            return f"{place}/{steps} {self._keyed}"
        name = "handshake" if self._meeting else self._step
        return f"{'█' * place}{'░' * (steps - place)} {name}" if bar else f"{place}/{steps} {name}"

    def seconds(self, now: float) -> str:
        """Time in work; `now` is the monotonic clock's."""
        if self.end is not None:
            return f"{self.end.seconds:.2f}"
        return f"{now - self._began:.1f}" if self._step else ""


def _done(unit: UnitFinished) -> str:
    if unit.verdict is not Verdict.PASS:
        return unit.code
    # As short as the words allow: `views.passed` has them in full.
    if not unit.already:
        return passed(unit)
    return f"already passed, {'active' if unit.cloud == 'active' else 'safe'}{unmet(unit)}"
