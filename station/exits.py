"""Exit codes of the command line: the contract with scripts (docs/operator.md). The worst wins."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """What the process says as it ends."""

    PASSED = 0
    UNIT_FAILED = 1
    USAGE = 2
    QUARANTINED = 3
    WEAK_KEY = 4
    ORDER_EXHAUSTED = 5
    LINE_STOPPED = 6
    HELD = 7
    AUDIT_FAILED = 8
    INTERRUPTED = 130


_WORST_FIRST = (
    Exit.INTERRUPTED, Exit.USAGE, Exit.LINE_STOPPED, Exit.ORDER_EXHAUSTED, Exit.WEAK_KEY, Exit.QUARANTINED,
    Exit.AUDIT_FAILED, Exit.HELD, Exit.UNIT_FAILED, Exit.PASSED,
)  # fmt: skip


def worst(codes: Iterable[Exit]) -> Exit:
    """The code that a run with all these ends with; PASSED for none."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), Exit.PASSED)
