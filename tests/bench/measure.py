"""The measurements behind docs/figures.md. Each returns rows; `run.py` prints them."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from station import wiring
from station.agreement import admitted_order
from station.attempt import Attempt
from station.demo.processes import Process
from station.events import AnyEvent, Step, StepDone, Verdict
from station.headroom import Headroom
from station.jobs.store import JobStore
from station.line import Line
from station.plan import Plan
from tests.bench.plant_up import Up, plant, settle
from tests.bench.timed import Timed, TimedSlot, Watch

PARTIES = ("boot", "signer", "registry", "ledger")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit's seconds: whole, by party, and by step. Parties may be at work at the same time.

    `remainder` is when none of device, wire, boot, signer and registry was: the station's own, its ledger included.
    """

    wall: float
    remainder: float
    parties: dict[str, float]
    steps: dict[str, dict[str, float]]


class _line:  # noqa: N801 - reads as a function where it is used
    """A line with timed parties, wired as the product wires it."""

    def __init__(self, plan: Plan, watch: Watch, events: list[tuple[float, AnyEvent]]) -> None:
        self._plan, self._watch, self._events = plan, watch, events

    async def __aenter__(self) -> Line:
        self._store: JobStore = wiring.open_store(self._plan)
        self._signer = wiring.SignerClient(self._plan.paths.signer_socket)
        self._cloud = wiring.open_cloud(self._plan.config, self._plan.root, self._signer)
        await admitted_order(self._plan.order, self._signer, self._store)

        def emit(event: AnyEvent) -> None:
            self._events.append((time.monotonic(), event))

        parties: dict[str, Any] = {
            "jobs": Timed(self._store, "ledger", self._watch),
            "signer": Timed(self._signer, "signer", self._watch),
            "cloud": Timed(self._cloud, "registry", self._watch),
        }
        return Line(
            station=self._plan.config.station.name, root=self._plan.root, order=self._plan.order, work=self._plan.work,
            indicators=wiring.NoIndicators(), emit=emit, headroom=Headroom(self._plan.work.quantity), max_attempts=10,
            generation_timeout_s=120.0, **parties,
        )  # fmt: skip

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()
        await self._cloud.close()
        await self._signer.close()


def _unit(
    watch: Watch,
    exchanges: Sequence[dict[str, Any]],
    slot: str,
    began: float,
    ended: float,
    events: Sequence[tuple[float, AnyEvent]],
) -> Unit:
    boots = [span for span in watch.spans["boot"] if began <= span[0] <= ended]
    others = [span for name in ("signer", "registry") for span in watch.spans[name] if began <= span[0] <= ended]
    asked_here = [row for row in exchanges if row["slot"] == slot and began <= row["request"][0] <= ended]
    own = [row for row in asked_here if not any(a <= row["request"][0] <= b for a, b in boots)]

    def parties(begin: float, end: float) -> dict[str, float]:
        found = {name: watch.within(name, begin, end) for name in PARTIES}
        rows = [(*row["request"], *row["answer"]) for row in own if begin <= row["request"][0] <= end]
        busy = [*boots, *others, *((asked, last) for asked, _, _, last in rows)]
        return {
            **found,
            "device": sum(first - heard for _, heard, first, _ in rows),
            "wire": sum((heard - asked) + (last - first) for asked, heard, first, last in rows),
            "remainder": end - begin - covered(busy, begin, end),
        }

    steps = {}
    for at, event in events:
        if isinstance(event, StepDone):
            steps[event.step.value] = {"wall": event.seconds, **parties(at - event.seconds, at)}
    whole = parties(began, ended)
    return Unit(ended - began, whole.pop("remainder"), whole, steps)


def covered(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """How much of the time from `begin` to `end` at least one span covers."""
    total, reached = 0.0, begin
    for first, last in sorted(spans):
        since, until = max(first, reached), min(last, end)
        if until > since:
            total, reached = total + until - since, until
    return total


def _exchanges(records: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (records / "exchanges.jsonl").read_text().splitlines()]


def proxied(up: Up, *, baud: int = 0, latency_ms: float = 0.0) -> tuple[Path, Process]:
    """Put the recording (or paced) proxy between station and devices."""
    where = up.state / f"proxy-{baud}-{latency_ms:g}"
    argv = [
        sys.executable, "-m", "tests.bench.pty_proxy", "--slots", str(up.slots), "--dir", str(where),
        "--baud", str(baud), "--latency-ms", str(latency_ms),
    ]  # fmt: skip
    process = up.stack.enter_context(Process(argv, up.state / "logs" / "proxy.log"))
    process.wait_until((where / "slots.toml").exists, 10)
    return where, process


def measure_units(
    devices: int, *, board: str = "native", product: str = "ec", baud: int = 0, latency_ms: float = 0.0
) -> list[Unit]:
    """Units one by one in one process, through the proxy."""
    with plant(board, devices, product) as up:
        where, process = proxied(up, baud=baud, latency_ms=latency_ms)
        settle()
        watch, spans = asyncio.run(_timed(up, where))
        process.stop()
        return [_unit(watch, _exchanges(where), *span) for span in spans]


async def _timed(up: Up, where: Path) -> tuple[Watch, list[Any]]:
    plan = up.plan(where / "slots.toml")
    watch: Watch = Watch()
    events: list[tuple[float, AnyEvent]] = []
    spans = []
    async with _line(plan, watch, events) as line:
        for config in plan.slots:
            began, first = time.monotonic(), len(events)
            attempt = Attempt(line, TimedSlot(config, watch))
            result = await attempt.passed()
            assert result.verdict is Verdict.PASS, result
            spans.append((config.name, began, time.monotonic(), events[first:]))
            await attempt.close()
    return watch, spans


@dataclass(frozen=True, slots=True)
class Batch:
    """A whole batch by the real command: seconds of the batch, its rate, CPU seconds by process, the station's memory."""

    seconds: float
    units: int
    cpu: dict[str, float]
    peak_mb: float


def measure_batch(devices: int, *, board: str = "native", product: str = "ec", sign_ms: int = 0) -> Batch:
    """`station run` over all slots at once, as a process of its own."""
    with plant(board, devices, product, sign_ms=sign_ms) as up:
        settle()
        before = up.cpu()
        argv = [
            "/usr/bin/env", "python3", str(Path(__file__).with_name("watch_memory.py")),
            str(Path(sys.executable).with_name("station")), "run", "--jsonl", "--config", str(up.config),
            "--order", str(up.order), "--slots-file", str(up.slots),
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        after = up.cpu()
        used = {name: after[name] - before.get(name, 0.0) for name in after if name != "station"}
        last = json.loads(done.stdout.splitlines()[-2])
        usage = json.loads(done.stdout.splitlines()[-1])
        used["station"] = usage["cpu"]
        assert (last["event"], last["passed"]) == ("batch-finished", devices), last
        return Batch(last["seconds"], devices, used, usage["peak_mb"])


def p50_p95(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def steps_of(units: Sequence[Unit]) -> list[tuple[str, dict[str, float]]]:
    """Medians of each step, in the flow's order."""
    rows = []
    for step in Step:
        found = [unit.steps[step.value] for unit in units if step.value in unit.steps]
        if found:
            rows.append((step.value, {key: statistics.median(each[key] for each in found) for key in found[0]}))
    return rows
