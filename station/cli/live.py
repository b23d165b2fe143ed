"""Live progress on a terminal: a row a slot with its running step. Draws on stderr; decides nothing."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from station.events import AnyEvent, AttemptBegan, LineStopped, Step, StepBegan, UnitFinished, UnitSeen, Verdict

_MARKS = {
    Verdict.PASS: ("✔", "green"),
    Verdict.FAIL: ("✘", "yellow"),
    Verdict.HELD: ("‖", "cyan"),
    Verdict.QUARANTINE: ("■", "red"),
}
_STEPS = list(Step)


class Progress:
    """Rows of slots, redrawn as events come."""

    def __init__(self, title: str, slots: tuple[str, ...]) -> None:
        self._title = title
        self._rows = {slot: Row() for slot in slots}
        self._stop = ""
        self._live = Live(self._table(), console=Console(stderr=True), refresh_per_second=10, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(self._table(), refresh=True)
        self._live.stop()

    def show(self, event: AnyEvent) -> None:
        """Take one event in."""
        if isinstance(event, LineStopped):
            self._stop = f"LINE STOP: {event.sentence} {event.remedy}"
        elif event.slot in self._rows:
            self._rows[event.slot].take(event)
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(title=self._title, title_justify="left", caption=self._stop or None, caption_style="bold red")
        for name in ("slot", "unit", "verdict", "step", "s"):
            table.add_column(name, no_wrap=name != "step", justify="right" if name == "s" else "left")
        for slot, row in self._rows.items():
            table.add_row(slot, row.unit, row.verdict(), row.step(), row.seconds())
        return table


class Row:
    """One slot's state on the screen."""

    def __init__(self) -> None:
        self.unit = ""
        self._step: Step | None = None
        self._began = 0.0
        self._end: UnitFinished | None = None

    def take(self, event: AnyEvent) -> None:
        """Update from one event of this slot."""
        match event:
            case AttemptBegan():
                self._end, self._began = None, time.monotonic()
            case UnitSeen():
                self.unit = event.device_id + ("  emulated" if event.emulated else "")
            case StepBegan():
                self._step = event.step
            case UnitFinished():
                self._end = event
            case _:
                pass

    def verdict(self) -> Text:
        """Shape, word and colour: never colour alone."""
        if self._end is None:
            return Text("…" if self._step else "")
        mark, colour = _MARKS[self._end.verdict]
        return Text(f"{mark} {self._end.verdict}", style=f"bold {colour}")

    def step(self) -> str:
        """The running step with its place in the flow, or what became of the unit."""
        if self._end is not None:
            if self._end.verdict is Verdict.PASS:
                return (
                    "already passed, verified again" if self._end.already else "done"
                ) + f", key {self._end.fingerprint[:16]}"
            return f"{self._end.code}: {self._end.remedy}"
        if self._step is None:
            return "waiting for a unit"
        place = _STEPS.index(self._step) + 1
        return f"{'█' * place}{'░' * (len(_STEPS) - place)} {self._step}"

    def seconds(self) -> str:
        """Time in work."""
        if self._end is not None:
            return f"{self._end.seconds:.2f}"
        return f"{time.monotonic() - self._began:.1f}" if self._step else ""
