"""The only place of the station that writes to stdout and stderr. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys


def data(line: str) -> None:
    """One line of data."""
    print(line, flush=True)


def note(line: str) -> None:
    """One line for people."""
    print(line, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Whether a person is watching stderr, where progress goes."""
    return sys.stderr.isatty()
