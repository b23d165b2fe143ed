"""What a campaign counted, and which part of it is to be run. Values only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import msgspec

from tests.faults.insertion import Outcome


class Result(msgspec.Struct, kw_only=True):
    """What a campaign did. `trials` were judged, `children` were run; `verdicts` counts how first insertions ended."""

    name: str
    points: int = 0
    trials: int = 0
    pairs: int = 0
    children: int = 0
    seconds: float = 0.0
    violations: list[str] = msgspec.field(default_factory=list)
    verdicts: dict[str, int] = msgspec.field(default_factory=dict)
    figures: str = ""

    def count(self, outcome: Outcome) -> None:
        """One more insertion that ended like this."""
        name = "crashed" if outcome.crashed else "killed" if outcome.killed else outcome.code or outcome.verdict
        self.verdicts[name] = self.verdicts.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a campaign to run, and whether to run cases that leave equal disks one by one."""

    part: int = 0
    of: int = 1
    every: bool = False

    def mine(self, number: int) -> bool:
        return number % self.of == self.part

    def cases(self, disks: list[str]) -> list[tuple[int, int]]:
        """The first point of each stretch of equal disks, with the stretch's length."""
        if self.every:
            return [(at, 1) for at in range(len(disks))]
        lengths = [len(list(same)) for _, same in itertools.groupby(disks)]
        return [(sum(lengths[:number]), length) for number, length in enumerate(lengths)]
