"""Ctrl-C, which people give, too: a program that still loads, or is about to end, ends with one word and 130.

While it is at work its own handling holds. Must never take up a signal that whoever started the program has it ignore
(nohup, a shell's `&`), and never load anything before the first moment is guarded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

_INTERRUPTED = 130


def guarded(load: Callable[[], Callable[[], int | None]]) -> int | None:
    """What the program that `load` imports returns; ends the process when it is interrupted and does not say so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return load()()
    signal.signal(signal.SIGINT, _ended)
    program = load()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return program()
    except KeyboardInterrupt:
        _ended()
        raise
    finally:  # the exit code stands; Python itself would die of a signal while it takes itself apart
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ended(*_: object) -> None:
    """At once: nothing is under way that would have to be undone."""
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)
