"""The campaigns of the fault matrix, each a function over a rig. Run by `python -m tests.faults.campaign NAME`.

A process of its own, because its children are forked from a parent that must have no other thread (test runners have
several). Prints one JSON object: points, trials, violations, seconds.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


from tests.faults.points import KILLS, Met, plans
from tests.faults.rig import Insertion, Outcome, Rig
from tests.faults.trial import Trial


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

    def count(self, outcome: Outcome) -> None:
        """One more insertion that ended like this."""
        name = "crashed" if outcome.crashed else "killed" if outcome.killed else outcome.code or outcome.verdict
        self.verdicts[name] = self.verdicts.get(name, 0) + 1


# What a fault at a party may be called. Anything else is a wrong name, and a wrong name sends people the wrong way.
_NAMES = {
    "device": {"no-answer", "link-lost", "garbled", "device-busy", "device-refused", "outcome-unknown", "generation-failed"},
    "slot": {"no-answer", "link-lost", "port-missing", "port-busy", "power-failed", "outcome-unknown"},
    "signer": {"signer-down", "signer-refused"},
    "token": {"signer-down", "registry-unreachable"},
    "receipts": {"registry-unreachable"},
    "cloud": {"registry-unreachable", "registry-refused"},
    "ledger": {"ledger-failed"},
    "lamp": {"indicator-failed"},
}


def first_run(rig: Rig) -> list[Met]:
    """The points of an undisturbed insertion of a new device."""
    trial = Trial.of(rig, "undisturbed")
    outcome = trial.insert()
    assert outcome.verdict == "PASS", outcome
    assert trial.finish(passed=True) == []
    return outcome.points


def single(rig: Rig, shard: Callable[[int], bool], result: Result) -> None:
    """Every fault at every point of a first insertion, then an insertion without faults: it must pass."""
    met = first_run(rig)
    result.points = len(met)
    for number, plan in enumerate(plans(met)):
        if not shard(number):
            continue
        point = met[plan.at]
        trial = Trial.of(rig, f"{plan.at} {point.name} {plan.mode} {plan.failure}")
        first = trial.insert(Insertion(plan=plan))
        trial.wants(first.killed == (plan.mode in KILLS), f"did not strike: {first}")
        trial.wants(first.code in {"", *_NAMES[point.name.split(".")[0]]}, f"a wrong name for it: {first}")
        last = trial.insert()
        trial.wants(last.verdict == "PASS", f"first {first}, then {last}")
        result.count(first)
        result.violations += trial.finish(passed=True)
        result.trials += 1


CAMPAIGNS: dict[str, Callable[[Rig, Callable[[int], bool], Result], None]] = {"single": single}
STATIONS = {"two-stations": ("st-01", "st-02")}


def main(argv: list[str]) -> int:
    """Run one campaign, or one part of it (`--part 0/4`)."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("name", choices=[*CAMPAIGNS])
    parser.add_argument("--part", default="0/1", help="which of how many parts")
    chosen = parser.parse_args(argv)
    mine, of = (int(each) for each in chosen.part.split("/"))
    result = Result(name=chosen.name)
    logging.disable(logging.CRITICAL)  # planted troubles are logged by the product as they should be
    began = time.monotonic()
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ks-faults-", dir=shm if shm.is_dir() else None) as base:
        rig = Rig(Path(base), STATIONS.get(chosen.name, ("st-01",))).make()
        CAMPAIGNS[chosen.name](rig, lambda number: number % of == mine, result)
        result.children = rig.children
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
