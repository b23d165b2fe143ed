"""What a batch does when it is told to stop: before its floor is open it begins nothing, afterwards units end first.

However often it is told: the first time counts. Never cuts short what closes ledger and connections.
"""

from __future__ import annotations

import asyncio
import signal

from station.cli.outcome import Outcome
from station.cli.output import note
from station.port import FloorPort


class NothingBegunError(Exception):
    """The batch was told to stop before its floor was open."""


class Signals:
    """SIGINT, SIGTERM, and SIGHUP unless it is ignored (nohup), for the task that runs a batch."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._floor: FloorPort | None = None
        self._task = asyncio.current_task()
        self.early = False
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a lost session interrupts, too, but not under nohup
            numbers.append(signal.SIGHUP)
        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._told)

    def floor_is_open(self, floor: FloorPort) -> None:
        """From now on units may be in work."""
        self._floor = floor

    def _told(self) -> None:
        if self._floor is not None:
            if not self._outcome.interrupted:
                self._outcome.interrupt()
                note("interrupted: units in work come to their end, no further unit is begun")
            self._floor.stop()
        elif not self.early and self._task is not None:
            self.early = True
            self._task.cancel()
