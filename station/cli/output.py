"""The only place of the station that writes to stdout and stderr. Data goes to stdout, everything else to stderr.

Never lets a character out that is not printable: foreign text moves no cursor and begins no line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from station.cli.called import Here
from station.faults import Fault, SetupError
from trust.printable import printable


def somebody_listens() -> None:
    """Streams that were closed before the program began (`>&-`) go nowhere, and no error comes of them."""
    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the program runs
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere


def data(line: str, *, flush: bool = True) -> None:
    """One line of data. A reader that has gone away (`| head`) stops neither the line nor its exit code."""
    try:
        print(printable(line), flush=flush)
    except BrokenPipeError:
        _speak_to_nobody(sys.stdout)


class DataSoon:
    """Lines of data while an event loop runs: those said at one moment are handed over together, at its end.

    `call_soon` is the running loop's. What stdout does not take stops no batch: `failed` tells it, and the rest goes
    nowhere.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting = False
        self.failed: OSError | None = None

    def say(self, line: str) -> None:
        """One line; handed over before the loop waits for anything."""
        try:
            data(line, flush=False)
        except OSError as error:
            self._fail(error)
        if not self._waiting:
            self._waiting = True
            self._call_soon(self.hand_over)

    def hand_over(self) -> None:
        """All lines so far."""
        self._waiting = False
        try:
            flush_data()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failed = self.failed or error
        _speak_to_nobody(sys.stdout)


def flush_data() -> None:
    """Hand over what has been said. Raises OSError, but not for a reader that has gone away."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _speak_to_nobody(sys.stdout)


def _speak_to_nobody(stream: TextIO) -> None:
    """Everything from here on goes nowhere, Python's own last flush included."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(line: str, *, end: str = "\n") -> None:
    """One line for people, after the lines of data that were said before it; whether anybody reads it or not.

    A question ends with "": its answer stands on the same line.
    """
    with suppress(OSError):  # told by whoever says data
        flush_data()
    try:
        print(printable(line), end=end, file=sys.stderr, flush=True)
    except OSError:
        _speak_to_nobody(sys.stderr)


def note_fault(error: Fault, here: Here) -> None:
    """What is wrong, exactly what, and what to do, a line each; of set-up the thing itself comes first."""
    what = [] if isinstance(error, SetupError) else [error.row.sentence]
    first, *rest = (*what, *error.detail.splitlines(), error.row.remedy)
    note(f"station: {here.typeable(first)}")
    for line in rest:
        note(f"         {here.typeable(line)}")


def is_terminal() -> bool:
    """Whether a person is watching stderr, where progress goes."""
    return sys.stderr.isatty()


def is_asked() -> bool:
    """Whether somebody can answer a question: not in a pipe, nor where stdin was closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def data_is_seen() -> bool:
    """Whether data goes to a terminal, too, and stands below the progress."""
    return sys.stdout.isatty()
