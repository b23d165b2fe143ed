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
from typing import Any

import msgspec

from station.events import Step
from station.jobs import Jobs
from station.jobs.store import JobStore
from tests.faults.ashore import Ashore, registry_state
from tests.faults.beside import deaf_outbox, eager_outbox, outbox_beside, outbox_faults
from tests.faults.insertion import Insertion
from tests.faults.planted import ForgottenJob, LateIntent
from tests.faults.points import KILLS, Met, Mode, Plan, plans
from tests.faults.result import Result, Shard
from tests.faults.rig import Rig
from tests.faults.trial import Trial

# What a fault at a party may be called. Anything else is a wrong name, and a wrong name sends people the wrong way.
_NAMES = {
    "device": {
        "no-answer",
        "link-lost",
        "garbled",
        "device-busy",
        "device-refused",
        "outcome-unknown",
        "generation-failed",
    },
    "power": {"power-failed"},
    "slot": {"no-answer", "link-lost", "port-missing", "port-busy", "power-failed", "outcome-unknown"},
    "signer": {"signer-down", "signer-refused"},
    "token": {"signer-down", "registry-unreachable", "lease-needed"},
    "receipts": {"registry-unreachable", "lease-needed"},
    "cloud": {"registry-unreachable", "registry-refused", "lease-needed"},
    "relay": {"registry-unreachable", "device-service-away", "handshake-closed"},
    "ledger": {"ledger-failed"},
    "lamp": {"indicator-failed"},
}
# What a unit that was finished elsewhere may meet when it comes back.
_CONFLICTS = {"job-conflict", "pin-refused"}
_MEETING = ("relay.", "device.tunnel", "ledger.record-handshake-report")
_LEAST_OF_A_MEETING = 8
_EARLY = (Step.INSERTED, Step.IDENTIFIED, Step.ASSIGNED, Step.KEYED)
_LATE = (Step.PINNED, Step.ANCHORED, Step.VERIFIED, Step.LOCKED)


def allowed_after(step: Step) -> set[str]:
    """What the registry may say of a unit that was pulled out when this step was done."""
    if step in _EARLY:
        return {"none"}
    if step in _LATE:
        return {"provisional"}
    # From its proof to state 9 the device is not asked again: the cloud may come to know it, but provisionally.
    return {"active"} if step is Step.PASSED else {"none", "provisional"}


def first_run(rig: Rig) -> list[Met]:
    """The points of an undisturbed insertion of a new device."""
    trial = Trial.of(rig, "undisturbed")
    outcome = trial.insert()
    assert outcome.verdict == "PASS", outcome
    assert trial.finish(passed=True) == []
    return outcome.points


def single(rig: Rig, shard: Shard, result: Result) -> None:
    """Every fault at every point of a first insertion, then an insertion without faults: it must pass."""
    _struck(rig, first_run(rig), shard, result)


def handshake(rig: Rig, shard: Shard, result: Result) -> None:
    """The same at the points that only a live handshake has, and where its report goes on record."""
    met = [each for each in first_run(rig) if each.name.startswith(_MEETING)]
    assert len(met) > _LEAST_OF_A_MEETING, met
    _struck(rig, met, shard, result)


def _struck(rig: Rig, met: list[Met], shard: Shard, result: Result) -> None:
    result.points = len(met)
    for number, plan in enumerate(plans(met)):
        if not shard.mine(number):
            continue
        trial = Trial.of(rig, f"{plan.at}: {plan.mode} {plan.failure}")
        first = trial.insert(Insertion(plan=plan))
        trial.wants(first.killed == (plan.mode in KILLS), f"did not strike: {first}")
        trial.wants(first.code in {"", *_NAMES[plan.at.split(".")[0]]}, f"a wrong name for it: {first}")
        last = trial.insert()
        trial.wants(last.verdict == "PASS", f"first {first}, then {last}")
        result.count(first)
        result.violations += trial.finish(passed=True)
        result.trials += 1


def pairs(rig: Rig, shard: Shard, result: Result) -> None:
    """Killed at a, the recovery killed at b, then left alone: it must pass, for all ordered pairs (a, b).

    Points between which nothing on any disk changed are one case: the recovery cannot tell them apart. `pairs` counts
    all of them; with `all` each is run.
    """
    survey = Trial.of(rig, "undisturbed")
    met = survey.insert(Insertion(survey=True))
    assert survey.finish(passed=True) == []
    result.points = len(met.points)
    for number, (a, same_as_a) in enumerate(shard.cases(met.disks)):
        if shard.mine(number):
            _pairs_after(rig, met.points[a].key, same_as_a, shard, result)


def _pairs_after(rig: Rig, a: str, same_as_a: int, shard: Shard, result: Result) -> None:
    killed = Trial.of(rig, f"killed at {a}")
    killed.wants(killed.insert(Insertion(plan=Plan(a, Mode.KILLED_BEFORE))).killed, "was not killed")
    alone = Trial.of(rig, f"{killed.name}, recovered", killed)
    met = alone.insert(Insertion(survey=True))
    alone.wants(met.verdict == "PASS", f"after one crash: {met}")
    result.violations += alone.finish(passed=True)
    result.trials += 1
    result.pairs += same_as_a * len(met.points)
    for b, _ in shard.cases(met.disks):
        again = met.points[b].key
        twice = Trial.of(rig, f"{killed.name}, killed again at {again}", killed)
        twice.wants(twice.insert(Insertion(plan=Plan(again, Mode.KILLED_BEFORE))).killed, "was not killed again")
        last = twice.insert()
        twice.wants(last.verdict == "PASS", f"after two crashes: {last}")
        result.violations += twice.finish(passed=True)
        result.trials += 1
    killed.drop()


def two_stations(rig: Rig, shard: Shard, result: Result) -> None:
    """Killed at a on the first station, finished on the second; then the first comes back and empties its outbox."""
    survey = Trial.of(rig, "undisturbed")
    met = survey.insert(Insertion(survey=True))
    survey.finish(passed=True, stations=("st-01",))
    result.points = len(met.points)
    for number, (a, _) in enumerate(shard.cases(met.disks)):
        if shard.mine(number):
            _moved(rig, met.points[a].key, result)


def _moved(rig: Rig, a: str, result: Result) -> None:
    trial = Trial.of(rig, f"killed at {a} on st-01")
    trial.wants(trial.insert(Insertion(plan=Plan(a, Mode.KILLED_BEFORE))).killed, "was not killed")
    before = Ashore.of(trial)
    second = trial.insert(Insertion(station="st-02"))
    result.count(second)
    trial.wants(second.verdict == "PASS", f"st-02 did not finish it: {second}")
    trial.insert(Insertion(only_outbox=True))
    for sentence in before.broken(Ashore.of(trial)):
        trial.wants(None, sentence)
    back = trial.insert()
    trial.wants(back.verdict == "PASS" or back.code in _CONFLICTS, f"back on st-01: {back}")
    after = Ashore.of(trial)
    trial.wants(before.broken(after) == [], "back on st-01: the story changed")
    trial.wants(after.passed == (back.verdict == "PASS"), f"back on st-01: {back}, on record there: {after.passed}")
    trial.wants(after.passed or back.code == after.told, f"back on st-01: {back}, on record there: {after.told}")
    collected = "collected" in rig.plant.work.origins
    result.violations += trial.finish(passed=True, replaced=not before.pinned and not collected)
    result.trials += 1


def taken_away(rig: Rig, shard: Shard, result: Result) -> None:
    """The unit is pulled out when a state is reached: what may the cloud know of it? Then it is put in again."""
    result.points = len(Step)
    for number, step in enumerate(Step):
        if not shard.mine(number):
            continue
        trial = Trial.of(rig, f"pulled out after {step}")
        first = trial.insert(Insertion(taken_after=step))
        state = registry_state(trial.place)
        trial.wants(state in allowed_after(step), f"the registry has {state}, allowed: {allowed_after(step)}")
        trial.wants((first.verdict == "PASS") == (step is Step.PASSED), f"verdict {first}")
        result.count(first)
        last = trial.insert()
        trial.wants(last.verdict == "PASS", f"put in again: {last}")
        result.violations += trial.finish(passed=True)
        result.trials += 1


def late_intent(rig: Rig, shard: Shard, result: Result) -> None:
    """Negative control: a station that writes its intent after the fact. Crashes must show it."""
    _control(rig, LateIntent, "same_job_same_bytes", result)


def forgotten_job(rig: Rig, shard: Shard, result: Result) -> None:
    """Negative control: a station whose job is not durable when the device makes its key. Crashes must show it."""
    _control(rig, ForgottenJob, "one_device_one_key", result)


def _control(rig: Rig, wrap: Callable[[JobStore], Jobs], invariant: str, result: Result) -> None:
    """The undisturbed run passes all checks: only the crashes tell, and one that does is enough.

    The watch on write-ahead is off.
    """
    whole = Trial.of(rig, "undisturbed")
    met = whole.insert(Insertion(survey=True, watched=False, wrap_jobs=wrap))
    assert met.verdict == "PASS", met
    assert whole.finish(passed=True) == []
    result.points = len(met.points)
    for at, _ in Shard().cases(met.disks):
        key = met.points[at].key
        trial = Trial.of(rig, f"killed at {key}")
        trial.insert(Insertion(plan=Plan(key, Mode.KILLED_BEFORE), watched=False, wrap_jobs=wrap))
        last = trial.insert(Insertion(watched=False, wrap_jobs=wrap))
        trial.wants(last.verdict == "PASS", f"not finished: {last}")
        result.violations += trial.finish(passed=last.verdict == "PASS")
        result.trials += 1
        if any(invariant in each for each in result.violations):
            return


CAMPAIGNS: dict[str, Callable[[Rig, Shard, Result], None]] = {
    "single": single,
    "handshake": handshake,
    "pairs": pairs,
    "two-stations": two_stations,
    "two-stations-collected": two_stations,
    "taken-away": taken_away,
    "late-intent": late_intent,
    "forgotten-job": forgotten_job,
    "outbox-beside": outbox_beside,
    "outbox-faults": outbox_faults,
    "eager-outbox": eager_outbox,
    "deaf-outbox": deaf_outbox,
}
_TWO = {"stations": ("st-01", "st-02")}
RIGS: dict[str, dict[str, Any]] = {
    "handshake": {"order": {"tcp": True}},
    "two-stations": _TWO,
    "two-stations-collected": {**_TWO, "order": {"origins": ("collected",), "unproven_origin": True}},
    "outbox-beside": _TWO,
    "outbox-faults": _TWO,
    "eager-outbox": _TWO,
    "deaf-outbox": _TWO,
}


def main(argv: list[str]) -> int:
    """Run one campaign, or one part of it (`--part 0/4`)."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("name", choices=[*CAMPAIGNS])
    parser.add_argument("--part", default="0/1", help="which of how many parts")
    parser.add_argument("--all", action="store_true", help="also cases that leave equal disks")
    chosen = parser.parse_args(argv)
    mine, of = (int(each) for each in chosen.part.split("/"))
    result = Result(name=chosen.name)
    logging.disable(logging.CRITICAL)  # planted troubles are logged by the product as they should be
    began = time.monotonic()
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ks-faults-", dir=shm if shm.is_dir() else None) as base:
        rig = Rig(Path(base), **RIGS.get(chosen.name, {})).make()
        CAMPAIGNS[chosen.name](rig, Shard(mine, of, every=chosen.all), result)
        result.children = rig.children
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
