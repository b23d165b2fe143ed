"""Whether a statement that is intended may have been signed. Only the signer knows: it counts what it has signed.

The signer gives what it has signed before it judges anything, so a refusal for one of these causes says that there was
nothing; silence, a loss of the answer and what went wrong beside it say nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from station.events import Step
from trust.statement import Event

_REFUSED: Mapping[Step, frozenset[str]] = MappingProxyType(
    {
        Step.SIGNED: frozenset({"order-exhausted", "order-refuses"}),
        Step.PASSED: frozenset(
            {"order-exhausted", "order-refuses", "challenge-unknown", "unit-not-signed", "bad-proof", "report-differs"}
        ),
    }
)


def refused(step: Step, code: str) -> bool:
    """Whether a verdict with this code at `signed` (of the pin) or `passed` (of the completion) is the signer's no."""
    return code in _REFUSED[step]


def may_be_signed(step: Step, verdicts: Iterable[Event]) -> bool:
    """By the last verdict at that step; a line stop is none, it comes before the signer is asked."""
    told = [each.details.get("code", "") for each in verdicts if each.details.get("step") == step]
    asked = [code for code in told if code != "line-stopped"]
    return not asked or not refused(step, asked[-1])
