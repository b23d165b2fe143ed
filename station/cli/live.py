"""Live progress on a terminal: a row a slot with its running step. Draws on stderr; decides nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from station.cli.rows import UNIT_WIDTH, VERDICT_WIDTH, Row
from station.cli.views import awaited, batch_lines
from station.events import (
    AnyEvent,
    BatchFinished,
    LineStopped,
    SignerAwaited,
    SignerBack,
    Step,
    UnitFinished,
    Verdict,
)
from trust.order import WorkOrder

_SECONDS_WIDTH = 5
_WIDE = 80
_BAR_WIDTH = len(Step) + 1 + max(len(step) for step in Step)


class Progress:
    """Rows of slots, drawn again ten times a second, so that seconds run while a device is busy."""

    def __init__(
        self, work: WorkOrder, slots: tuple[str, ...], generation_timeout_s: float, *, count: int | None = None
    ) -> None:
        self._title = f"order {work.order_id} · {work.product} · environment {work.environment}"
        keyed = f"RSA key, ≤ {generation_timeout_s:.0f} s" if work.key_type == "rsa-2048" else ""
        self._rows = {slot: Row(keyed) for slot in slots}
        self._count = count
        self._verdicts = 0
        self._gone: list[str] = []
        self._end: BatchFinished | None = None
        self._stop = ""
        self._awaited = ""
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
                self._stop, self._awaited = f"LINE STOP: {event.sentence} {event.remedy}", ""
            case SignerAwaited():
                self._awaited = awaited(event)
            case SignerBack():
                self._awaited = ""
            case UnitFinished():
                self._verdicts += not event.again
            case BatchFinished():
                self._end = event
        if event.slot in self._rows:
            self._gone += self._rows[event.slot].take(event)

    def rest(self) -> Iterator[str]:
        """What belongs below the table at the end: attempts that have lost their row, why units failed, the tally."""
        yield from self._gone
        yield from self._details()
        if self._end is not None:
            held = {row.unit for row in self._rows.values() if row.end and row.end.verdict is Verdict.HELD}
            yield from batch_lines(self._end, shown=held)

    def _details(self) -> Iterator[str]:
        """Where and why units that stand in the table did not pass: once for all slots of which it is true."""
        same: dict[str, list[str]] = {}
        for unit in self._failed():
            where, detail = f" at {unit.step}" if unit.step else "", f" [{unit.detail}]" if unit.detail else ""
            same.setdefault(f"{unit.code}{where}{detail}", []).append(unit.slot)
        for text, slots in same.items():
            yield f"{', '.join(slots)}  {text}"

    def _failed(self) -> list[UnitFinished]:
        """Units in the table that did not pass."""
        ends = [row.end for row in self._rows.values() if row.end is not None]
        return [end for end in ends if end.verdict is not Verdict.PASS]

    def _remedies(self) -> Iterator[Text]:
        """What is wrong and what to do, once a code, and a suspect slot's own."""
        codes = {unit.code: f"{unit.code}: {unit.sentence} {unit.remedy}" for unit in self._failed()}
        suspects = [row.suspect for row in self._rows.values() if row.suspect is not None]
        for line in [*codes.values(), *(f"{each.slot}: {each.sentence} {each.remedy}" for each in suspects)]:
            yield Text(line)

    def _screen(self) -> Group:
        emulated = {row.emulated for row in self._rows.values() if row.unit} == {True}
        title = f"{self._title} · emulated units" if emulated else self._title
        parts: list[Text | Table] = [Text(title, style="bold"), self._table(mark=not emulated)]
        parts += self._remedies()
        if self._awaited:
            parts.append(Text(self._awaited, style="bold yellow"))
        if self._waits():
            text = (
                f"{self._verdicts} of {self._count} units have their verdict: take a unit out and put the next one in"
            )
            parts.append(Text(text, style="bold"))
        return Group(*parts, *([Text(self._stop, style="bold red")] if self._stop else []))

    def _waits(self) -> bool:
        """Whether nothing goes on until somebody puts another unit in."""
        more = self._count is not None and 0 < self._verdicts < self._count
        idle = all(row.end is not None for row in self._rows.values())
        return more and idle and self._end is None and not self._stop

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
