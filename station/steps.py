"""The step wrapper: events around each step, line stop at its boundary, leaf errors turned into faults.

A step's body stays free of all three. Never swallows anything.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from station.events import Step, StepBegan, StepDone
from station.leaves import LEAF_ERRORS, classify
from station.line import Line


class InSlot(Protocol):
    """What the wrapper needs of its owner."""

    line: Line
    slot_name: str
    at: Step


P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", bound=InSlot)  # noqa: E741 - the owner


def step(
    name: Step,
) -> Callable[[Callable[Concatenate[O, P], Awaitable[R]]], Callable[Concatenate[O, P], Awaitable[R]]]:
    """Make a method the step of this name."""

    def wrap(body: Callable[Concatenate[O, P], Awaitable[R]]) -> Callable[Concatenate[O, P], Awaitable[R]]:
        @functools.wraps(body)
        async def run(owner: O, /, *args: P.args, **kwargs: P.kwargs) -> R:
            line, owner.at = owner.line, name
            line.stop.check()
            began = line.clock.monotonic()
            line.emit(StepBegan(at=line.clock.utc(), slot=owner.slot_name, step=name))
            try:
                evidence = await body(owner, *args, **kwargs)
            except LEAF_ERRORS as error:
                raise classify(error) from error
            seconds = round(line.clock.monotonic() - began, 6)
            line.emit(StepDone(at=line.clock.utc(), slot=owner.slot_name, step=name, seconds=seconds))
            return evidence

        return run

    return wrap
