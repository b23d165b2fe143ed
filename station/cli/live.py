"""Live progress on a terminal: a row a slot with its running step. Draws on stderr; decides nothing."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from station.cli.output import data
from station.cli.rows import UNIT_WIDTH, VERDICT_WIDTH, Row
from station.cli.views import plain_lines
from station.events import AnyEvent, BatchFinished, LineStopped, Step, UnitFinished, Verdict
from trust.order import WorkOrder

_SECONDS_WIDTH = 5
_WIDE = 80
_BAR_WIDTH = len(Step) + 1 + max(len(step) for step in Step)


class Progress:
    """Rows of slots, drawn again ten times a second, so that seconds run while a device is busy."""

    def __init__(self, work: WorkOrder, slots: tuple[str, ...], generation_timeout_s: float) -> None:
        self._title = f"order {work.order_id} · {work.product} · environment {work.environment}"
        keyed = f"RSA key, ≤ {generation_timeout_s:.0f} s" if work.key_type == "rsa-2048" else ""
        self._rows = {slot: Row(keyed) for slot in slots}
        self._below: list[str] = []
        self._stop = ""
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, get_renderable=self._screen, refresh_per_second=10, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: AnyEvent) -> None:
        """Take one event in."""
        match event:
            case LineStopped():
                self._stop = f"LINE STOP: {event.sentence} {event.remedy}"
            case BatchFinished():
                self._below += plain_lines(event)
            case UnitFinished() if event.verdict is not Verdict.PASS:
                self._below += plain_lines(event)
        if event.slot in self._rows:
            self._below += self._rows[event.slot].take(event)

    def say_rest(self) -> None:
        """Say what belongs below the table: units that did not pass or have lost their row, and the tally."""
        for line in self._below:
            data(line)

    def _screen(self) -> Group:
        emulated = {row.emulated for row in self._rows.values() if row.unit} == {True}
        title = f"{self._title} · emulated units" if emulated else self._title
        parts: list[Text | Table] = [Text(title, style="bold"), self._table(mark=not emulated)]
        return Group(*parts, *([Text(self._stop, style="bold red")] if self._stop else []))

    def _table(self, *, mark: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        slots = self._slots_width()
        # Columns that do not jump; a name too long for its column goes on below, for it must be readable in full.
        table.add_column("slot", overflow="fold", min_width=slots, max_width=slots)
        for name, width in (("unit", UNIT_WIDTH), ("verdict", VERDICT_WIDTH)):
            table.add_column(name, no_wrap=True, min_width=width)
        table.add_column("step", overflow="fold")
        table.add_column("s", no_wrap=True, min_width=_SECONDS_WIDTH, justify="right")
        bar = self._room() >= _BAR_WIDTH
        for slot, row in self._rows.items():
            kind = "\nemulated" if row.emulated and mark else ""
            table.add_row(slot, row.unit + kind, row.verdict(), row.step(bar=bar), row.seconds(time.monotonic()))
        return table

    def _slots_width(self) -> int:
        """Columns that the slots' names have."""
        most = 16 if self._console.width >= _WIDE else 8
        return min(most, max((len(slot) for slot in self._rows), default=len("slot")))

    def _room(self) -> int:
        """Columns that the step has."""
        return self._console.width - self._slots_width() - UNIT_WIDTH - VERDICT_WIDTH - _SECONDS_WIDTH - 2 * 4
