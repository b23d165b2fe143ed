"""Whether a statement that is intended may have been signed. Only the signer knows: it counts what it has signed.

The signer gives what it has signed before it judges anything, so a refusal for one of these causes says that there was
nothing; silence, a loss of the answer and what went wrong beside it say nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from station.events import Step
from station.jobs import OnRecord

_ANYWHERE = frozenset({"order-exhausted", "order-refuses", "challenge-unknown", "unit-not-signed", "bad-proof"})
_REFUSED: Mapping[Step, frozenset[str]] = MappingProxyType(
    {Step.SIGNED: _ANYWHERE | {"key-weak"}, Step.PASSED: _ANYWHERE | {"report-differs"}}
)


def refused(step: Step, code: str) -> bool:
    """Whether a verdict with this code at `signed` (of the pin) or `passed` (of the completion) is the signer's no."""
    return code in _REFUSED[step]


def may_be_signed(step: Step, begun: OnRecord) -> bool:
    """Of a job whose intent is on record and nothing that was signed for it.

    An attempt without a verdict died, and may have asked; a line stop comes before the signer is asked.
    """
    answers = [
        (told.attempt, told.details.get("code", ""))
        for told in begun.verdicts
        if told.details.get("step") == step and told.details.get("code") != "line-stopped"
    ]
    died = set(range(1, begun.attempts + 1)) - {told.attempt for told in begun.verdicts}
    last, code = answers[-1] if answers else (0, "")
    return any(attempt > last for attempt in died) or (bool(answers) and not refused(step, code))
