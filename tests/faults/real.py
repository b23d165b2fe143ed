"""The same with real processes: `station run` on a pty against running signers, registry (HTTPS) and native devices.

Run by `python -m tests.faults.real`. Each insertion is a process of its own that runs the station's command line; it is
killed at a fault point from inside (`kill -9` on itself) or, from outside, when it has told of a step. Nothing else is
restarted: signers, registry and devices live through it all.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from station.events import Step
from tests.faults import disk
from tests.faults.points import Mode, Plan
from tests.faults.result import Result, Shard
from tests.faults.site import STATION, TOP, Said, Site, insert, running_site, said_in


def pairs(site: Site, result: Result, shard: Shard, most: int | None) -> None:
    """Kill at a, kill the recovery at b, finish; all ordered pairs that differ on disk, or `most` of them spread evenly."""
    insert(site, site.slots.pop())  # has the signer's lease fetched, which later ones need not
    survey = insert(site, site.slots.pop(), survey=True)
    assert survey.verdict == "PASS", survey
    result.points = len(survey.points)
    first = [at for at, _ in Shard().cases(survey.disks)]
    chosen = first if most is None else [first[number * len(first) // most] for number in range(most)]
    for number, a in enumerate(chosen):
        if not shard.mine(number):
            continue
        slot = site.slots.pop()
        _kill(site, slot, a, survey, result)
        again = insert(site, slot, survey=True)
        judge(site, slot, f"killed at {survey.points[a].key}", again, result)
        second = [at for at, _ in Shard().cases(again.disks)]
        wanted = second if most is None or not second else second[number % len(second) :][:1]
        for b in wanted:
            _pair(site, a, b, survey, again, result)


def _pair(site: Site, a: int, b: int, survey: Said, again: Said, result: Result) -> None:
    slot = site.slots.pop()
    _kill(site, slot, a, survey, result)
    _kill(site, slot, b, again, result)
    name = f"killed at {survey.points[a].key}, then at {again.points[b].key}"
    judge(site, slot, name, insert(site, slot), result)
    result.pairs += 1


def _kill(site: Site, slot: str, at: int, run: Said, result: Result) -> None:
    said = insert(site, slot, Plan(run.points[at].key, Mode.KILLED_BEFORE))
    result.children += 1
    if not said.killed:
        result.violations.append(f"was not killed at {run.points[at].key}: {said}")


def from_outside(site: Site, result: Result, steps: list[Step]) -> None:
    """The command itself, killed from outside soon after it told that a step began."""
    dice = random.Random(1)
    for step in steps:
        slot = site.slots.pop()
        started = subprocess.Popen([STATION, *site.words(slot)], stdout=subprocess.PIPE, text=True, cwd=TOP)
        assert started.stdout is not None
        for line in started.stdout:
            event = json.loads(line)
            if event["event"] == "step-began" and event["step"] == step:
                time.sleep(dice.random() * 0.03)
                started.kill()
                break
        started.stdout.close()
        result.children += 1
        name = f"killed from outside in {step} ({started.wait()})"
        done = subprocess.run([STATION, *site.words(slot)], capture_output=True, text=True, cwd=TOP, check=False)
        said = Said(code=done.returncode, **said_in(done.stdout.splitlines()))
        judge(site, slot, name, said, result)


def judge(site: Site, slot: str, name: str, last: Said, result: Result) -> None:
    """The last insertion passed, one more changes nothing, and the disks agree."""
    found = [] if (last.verdict, last.code) == ("PASS", 0) else [f"not finished: {last}"]
    device = site.device(slot)
    before = site.statements_signed()
    more = insert(site, slot)
    if (more.verdict, more.already, more.code) != ("PASS", True, 0):
        found.append(f"verified again: {more}")
    if site.statements_signed() != before:
        found.append("verifying again cost signatures")
    result.violations += [f"{name}: {each}" for each in [*found, *disagreements(site, device)]]
    result.trials += 1


def disagreements(site: Site, device: str) -> list[str]:
    """One job, one pin, one statement and one count, the same bytes everywhere, nothing waiting."""
    registry, counters = site.state / "registry" / "registry.db", site.state / "signer-factory" / "counters.db"
    jobs = disk.jobs(site.ledger, device)
    pins = disk.query(registry, "SELECT job, statement FROM pins WHERE device_id = ?", device)
    done = disk.query(registry, "SELECT statement FROM completions WHERE device_id = ?", device)
    signed = disk.query(counters, "SELECT kind, payload FROM statements WHERE device_id = ? ORDER BY kind", device)
    if (len(jobs), len(pins), len(done), [kind for kind, _ in signed]) != (1, 1, 1, ["completion", "pin"]):
        return [f"{len(jobs)} jobs, {len(pins)} pins, {len(done)} completions, signed: {[kind for kind, _ in signed]}"]
    records = disk.records(site.ledger, jobs[0])
    bytes_of = {
        "pin": {records["intent"].payload, records["pin"].payload, disk.Sealed.of(pins[0][1]).payload, signed[1][1]},
        "completion": {
            records["completion-intent"].payload, records["completion"].payload,
            disk.Sealed.of(done[0][0]).payload, signed[0][1],
        },
    }  # fmt: skip
    found = [f"{kind}: {len(held)} different bytes" for kind, held in bytes_of.items() if len(held) > 1]
    if pins[0][0] != jobs[0]:
        found.append("pinned under another job")
    waiting = [kind for job, kind in disk.pending(site.ledger) if job == jobs[0]]
    return [*found, *(f"{kind} still waits" for kind in waiting)]


def finish(site: Site, result: Result) -> None:
    """What holds for the whole site: the audit, the write-ahead watch, and the order's count."""
    argv = [STATION, "ledger", "verify", "--config", str(site.directory / "config.toml")]
    audit = subprocess.run(argv, capture_output=True, text=True, cwd=TOP, check=False)
    if audit.returncode:
        result.violations.append(f"the audit: {audit.stdout}{audit.stderr}")
    findings = site.directory / "findings.txt"
    result.violations += findings.read_text().splitlines() if findings.exists() else []
    counters = site.state / "signer-factory" / "counters.db"
    counted = disk.query(counters, "SELECT pins, (SELECT count(DISTINCT device_id) FROM statements) FROM orders")
    if counted[0][0] != counted[0][1]:
        result.violations.append(f"{counted[0][0]} units counted, {counted[0][1]} devices signed for")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="real", description=__doc__)
    parser.add_argument("--pairs", type=int, help="so many pairs; without it all that differ on disk")
    parser.add_argument("--kills", default="keyed,signed,anchored,locked", help="steps to be killed in from outside")
    parser.add_argument("--devices", type=int, default=32, help="new devices on the bench")
    parser.add_argument("--part", default="0/1", help="which of how many parts")
    chosen = parser.parse_args(argv)
    shard = Shard(*(int(each) for each in chosen.part.split("/")))
    result = Result(name="real processes")
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ks-") as name, running_site(Path(name), chosen.devices) as site:
        pairs(site, result, shard, chosen.pairs)
        from_outside(site, result, [Step(each) for each in chosen.kills.split(",")])
        finish(site, result)
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
