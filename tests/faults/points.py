"""Fault points: every call that crosses from the flow to another party, numbered in the order of the run.

A `Plan` names one point and what happens there. Nothing in the product knows of this: parties are wrapped from outside
(`tests.faults.slots`, `tests.faults.parties`). Holds no assertion.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeVar

import msgspec

T = TypeVar("T")


class Mode(StrEnum):
    """What happens at a point. Power is the device's; a station that loses power is one that is killed."""

    FAILED = "failed"
    APPLIED = "failed but applied"
    POWER_LOST_BEFORE = "power lost before"
    POWER_LOST_AFTER = "power lost after"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"


KILLS = frozenset({Mode.KILLED_BEFORE, Mode.KILLED_AFTER})


@dataclass(frozen=True, slots=True)
class Failure:
    """A leaf error that the real party raises there; `may_have_applied` unless the error itself says that nothing was done."""

    make: Callable[[], Exception]
    may_have_applied: bool = True


class Met(msgspec.Struct, frozen=True):
    """One call as a run met it: for each of its leaf errors, whether the call may have been applied; power or not.

    Found again by its name and its turn among the calls of that name: what runs side by side may change places.
    """

    name: str
    failures: tuple[bool, ...] = ()
    powered: bool = False
    turn: int = 1

    @property
    def key(self) -> str:
        """Its address in a plan."""
        return f"{self.name} {self.turn}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens at which point (`Met.key`); `failure` is the number of the party's leaf error."""

    at: str
    mode: Mode
    failure: int = 0


class Points:
    """Counts the calls of one run and strikes where the plan says."""

    def __init__(self, plan: Plan | None = None) -> None:
        self._plan = plan
        self._turns: Counter[str] = Counter()
        self.met: list[Met] = []
        self.power_off: Callable[[], None] = lambda: None
        self.look: Callable[[], None] = lambda: None
        self.pause: Callable[[Met], Awaitable[None]] = _go_on

    async def call(
        self, name: str, act: Callable[[], Awaitable[T]], failures: tuple[Failure, ...], *, powered: bool = False
    ) -> T:
        """The call; a strike after it strikes also when the answer was a refusal."""
        mode = self._meet(name, failures, powered=powered)
        await self.pause(self.met[-1])
        self._before(mode, failures)
        try:
            return await act()
        finally:
            self._after(mode, failures)

    def call_sync(self, name: str, act: Callable[[], T], failures: tuple[Failure, ...]) -> T:
        mode = self._meet(name, failures, powered=False)
        self._before(mode, failures)
        try:
            return act()
        finally:
            self._after(mode, failures)

    def _meet(self, name: str, failures: tuple[Failure, ...], *, powered: bool) -> Mode | None:
        self.look()
        self._turns[name] += 1
        met = Met(name, tuple(each.may_have_applied for each in failures), powered, self._turns[name])
        self.met.append(met)
        return self._plan.mode if self._plan is not None and self._plan.at == met.key else None

    def _before(self, mode: Mode | None, failures: tuple[Failure, ...]) -> None:
        match mode:
            case Mode.KILLED_BEFORE:
                die()
            case Mode.FAILED:
                raise self._failure(failures)
            case Mode.POWER_LOST_BEFORE:
                self.power_off()
            case _:
                pass

    def _after(self, mode: Mode | None, failures: tuple[Failure, ...]) -> None:
        match mode:
            case Mode.KILLED_AFTER:
                die()
            case Mode.APPLIED:
                raise self._failure(failures)
            case Mode.POWER_LOST_AFTER:  # the device has done it and is dark before its answer is out
                self.power_off()
                raise failures[0].make()
            case _:
                pass

    def _failure(self, failures: tuple[Failure, ...]) -> Exception:
        assert self._plan is not None
        return failures[self._plan.failure].make()


async def _go_on(_: Met) -> None:
    """Nobody is waited for."""


def plans(met: Sequence[Met]) -> list[Plan]:
    """Every fault at every point of a run, one each."""
    found = []
    for point in met:
        for number, may_have_applied in enumerate(point.failures):
            found.append(Plan(point.key, Mode.FAILED, number))
            if may_have_applied:
                found.append(Plan(point.key, Mode.APPLIED, number))
        if point.powered:
            found += [Plan(point.key, Mode.POWER_LOST_BEFORE), Plan(point.key, Mode.POWER_LOST_AFTER)]
        found += [Plan(point.key, Mode.KILLED_BEFORE), Plan(point.key, Mode.KILLED_AFTER)]
    return found


def die() -> NoReturn:
    """As `kill -9` does: no clean-up, no exit handler."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
