"""The same with real processes: `station run` on a pty against running signers, registry (HTTPS) and native devices.

Run by `python -m tests.faults.real`. Each insertion is a process of its own that runs the station's command line; it is
killed at a fault point from inside (`kill -9` on itself) or, from outside, when it has told of a step. Nothing else is
restarted: signers, registry and devices live through it all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock
from urllib.parse import urlsplit

import msgspec

from fixtures.bench.flash_file import device_id_of
from fixtures.slots import SerialSlot, read_slots, write_slots
from hsm.client import SignerClient
from station import cli, wiring
from station import config as settings
from station.demo import plant as demo
from station.demo.bench import Bench, start_bench
from station.events import Step
from station.root import load_root
from tests.faults import disk
from tests.faults.campaign import Result, Shard
from tests.faults.parties import FaultyCloud, FaultyJobs, FaultySigner, FaultySlot, Watch
from tests.faults.points import Met, Mode, Plan, Points
from tests.faults.rig import QuietOutbox, listen

TOP = Path(__file__).resolve().parents[2]
STATION = str(Path(sys.executable).with_name("station"))


class Said(msgspec.Struct, kw_only=True):
    """What a station process said, and how it ended."""

    killed: bool = False
    code: int = 0
    points: list[Met] = msgspec.field(default_factory=list)
    disks: list[str] = msgspec.field(default_factory=list)
    verdict: str = ""
    fault: str = ""
    detail: str = ""
    already: bool = False


@dataclass(slots=True)
class Site:
    """A plant at work; `slots` are the nests whose device is still new."""

    directory: Path
    slots: list[str]

    @property
    def state(self) -> Path:
        return self.directory / "s"

    @property
    def ledger(self) -> Path:
        return self.state / "station" / "ledger.db"

    def device(self, slot: str) -> str:
        return device_id_of(self.state / "bench-ec" / "slots" / slot / "flash.bin").hex()

    def words(self, slot: str) -> list[str]:
        """The command that an operator would type for one slot."""
        return [
            "run", "--order", str(self.state / "orders" / "ec.toml"), "--config", str(self.directory / "config.toml"),
            "--slots", slot, "--count", "1", "--retries", "0", "--jsonl",
        ]  # fmt: skip

    def statements_signed(self) -> list[tuple[str, int, int]]:
        """Payloads and re-signs by purpose, checkpoints aside: a log that grew has its head signed."""
        counted = disk.query(self.state / "signer-factory" / "counters.db", "SELECT * FROM signatures ORDER BY 1")
        return [each for each in counted if each[0] in {"pin", "completion"}]

    def digest(self) -> str:
        """One hash over all disks."""
        return disk.digest(self.state)


@contextlib.contextmanager
def running_site(directory: Path, devices: int) -> Iterator[Site]:
    """A plant with so many new native devices; everything is stopped afterwards."""
    example = (TOP / "config.example.toml").read_text()
    (directory / "config.toml").write_text(example.replace("run/demo", "s"))
    config, paths = settings.load(directory / "config.toml")
    with ExitStack() as stack:
        plant = demo.Plant(config, paths, "native", stack)
        plant.clear()
        bench = start_bench(Bench(product="ec", board="native", devices=devices), paths.state, stack)
        plant.make()
        plant.start(urlsplit(load_root(paths.root).root.registry_url).port or 0)
        slots = read_slots(bench.wait())
        write_slots(paths.slots, slots)
        plant.write_order("ec", 100_000)
        yield Site(directory, [slot.name for slot in slots])


# ---- one insertion


def insert(site: Site, slot: str, plan: Plan | None = None, *, survey: bool = False) -> Said:
    """`station run` for one slot in a forked process, with fault points around its parties."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        _be_station(site, slot, Points(plan), there, survey=survey)
    os.close(there)
    told, killed = listen(pid, here, hangs_s=60)
    return Said(killed=True) if killed else msgspec.json.decode(told, type=Said)


def _be_station(site: Site, slot: str, points: Points, pipe: int, *, survey: bool) -> NoReturn:
    disks: list[str] = []
    if survey:
        points.look = lambda: disks.append(site.digest())
    out = os.open(site.directory / "out.jsonl", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    sys.argv = [STATION, *site.words(slot)]
    code = 1
    with wrapped(site, points):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            said = _said((site.directory / "out.jsonl").read_text().splitlines())
            os.write(pipe, msgspec.json.encode(Said(code=code, points=points.met, disks=disks, **said)))
            os._exit(0)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def wrapped(site: Site, points: Points) -> Iterator[None]:
    """The station's parties behind fault points; nothing else of its wiring is touched."""
    watch = Watch(site.ledger, site.directory / "findings.txt")
    open_cloud, open_store = wiring.open_cloud, wiring.open_store
    changes: dict[str, Callable[..., Any]] = {
        "SerialSlot": lambda config: FaultySlot(SerialSlot(config), points, watch),
        "SignerClient": lambda path: FaultySigner(SignerClient(path), points, watch),
        "open_cloud": lambda *args: FaultyCloud(open_cloud(*args), points, watch),
        "open_store": lambda plan: FaultyJobs(open_store(plan), points),
        "Outbox": QuietOutbox,
    }
    with ExitStack() as stack:
        for name, change in changes.items():
            stack.enter_context(mock.patch.object(wiring, name, change))
        yield


def _said(lines: list[str]) -> dict[str, Any]:
    ended = [each for each in map(json.loads, lines) if each["event"] == "unit-finished"]
    if not ended:
        return {}
    last = ended[-1]
    return {"verdict": last["verdict"], "fault": last["code"], "detail": last["detail"], "already": last["already"]}


# ---- trials


def pairs(site: Site, result: Result, most: int | None) -> None:
    """Kill at a, kill the recovery at b, finish; all ordered pairs that differ on disk, or `most` of them spread evenly."""
    survey = insert(site, site.slots.pop(), survey=True)
    assert survey.verdict == "PASS", survey
    result.points = len(survey.points)
    first = [at for at, _ in Shard().cases(survey.disks)]
    chosen = first if most is None else [first[number * len(first) // most] for number in range(most)]
    for number, a in enumerate(chosen):
        slot = site.slots.pop()
        _kill(site, slot, a, survey, result)
        again = insert(site, slot, survey=True)
        _judge(site, slot, f"killed at {a} {survey.points[a].name}", again, result)
        second = [at for at, _ in Shard().cases(again.disks)]
        wanted = second if most is None else second[number % len(second) :][:1]
        for b in wanted:
            _pair(site, a, b, survey, again, result)


def _pair(site: Site, a: int, b: int, survey: Said, again: Said, result: Result) -> None:
    slot = site.slots.pop()
    _kill(site, slot, a, survey, result)
    _kill(site, slot, b, again, result)
    name = f"killed at {a} {survey.points[a].name}, then at {b} {again.points[b].name}"
    _judge(site, slot, name, insert(site, slot), result)
    result.pairs += 1


def _kill(site: Site, slot: str, at: int, run: Said, result: Result) -> None:
    said = insert(site, slot, Plan(at, Mode.KILLED_BEFORE))
    result.children += 1
    if not said.killed:
        result.violations.append(f"was not killed at {at} {run.points[at].name}: {said}")


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
        said = Said(code=done.returncode, **_said(done.stdout.splitlines()))
        _judge(site, slot, name, said, result)


def _judge(site: Site, slot: str, name: str, last: Said, result: Result) -> None:
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
    parser.add_argument("--devices", type=int, default=32, help="new devices on the bench")
    chosen = parser.parse_args(argv)
    result = Result(name="real processes")
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="ks-"))
    try:
        with running_site(directory, chosen.devices) as site:
            pairs(site, result, chosen.pairs)
            from_outside(site, result, [Step.KEYED, Step.SIGNED, Step.ANCHORED, Step.LOCKED])
            finish(site, result)
    finally:
        shutil.rmtree(directory)
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
