"""Measures what docs/figures.md states and prints the tables. `python tests/bench/run.py [NAME …]`; without a name all."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.measure import Unit, measure_batch, measure_units, p50_p95, steps_of

COLUMNS = ("wall", "device", "wire", "boot", "signer", "registry", "ledger")


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(units: list[Unit]) -> None:
    """Per step medians in ms. What was begun ahead counts where it ran; the last column is when no other party worked."""
    say("| step | " + " | ".join(COLUMNS) + " | station |")
    say("|---|" + "---|" * (len(COLUMNS) + 1))
    for name, row in steps_of(units):
        say(f"| {name} | " + " | ".join(f"{row[key] * 1000:.1f}" for key in (*COLUMNS, "remainder")) + " |")


def totals(units: list[Unit]) -> None:
    for key in ("device", "wire", "boot", "signer", "registry", "ledger"):
        say(f"{key}: p50 {statistics.median(unit.parties[key] for unit in units) * 1000:.1f} ms")
    wall, rest = p50_p95([unit.wall for unit in units]), p50_p95([unit.remainder for unit in units])
    say(f"wall: p50 {wall[0] * 1000:.1f} ms, p95 {wall[1] * 1000:.1f} ms")
    say(f"**station's remainder: p50 {rest[0] * 1000:.1f} ms, p95 {rest[1] * 1000:.1f} ms** ({len(units)} units)")


def remainder(devices: int = 200) -> None:
    """EC, native port, one slot at a time, recording proxy."""
    units = measure_units(devices)
    table(units)
    totals(units)


def paced(devices: int = 10) -> None:
    """Through the paced proxy: whole time against wire and device time."""
    for baud, latency in ((115200, 0.0), (115200, 1.0), (115200, 16.0)):
        units = measure_units(devices, baud=baud, latency_ms=latency)
        ratios = [unit.wall / sum(unit.parties[key] for key in ("device", "wire", "boot")) for unit in units]
        floor = statistics.median(
            unit.parties["wire"] + unit.parties["device"] + unit.parties["boot"] for unit in units
        )
        say(
            f"{baud} baud, latency timer {latency:g} ms: wire + device + boot {floor * 1000:.0f} ms, total / that: p50 {statistics.median(ratios):.3f}, max {max(ratios):.3f}"
        )


def throughput(devices: int = 16, runs: int = 5) -> None:
    """16 native devices at once, by the real command."""
    rates = []
    for _ in range(runs):
        batch = measure_batch(devices)
        rates.append(batch.units / batch.seconds)
        cpu = ", ".join(f"{name} {value:.2f}" for name, value in sorted(batch.cpu.items()))
        say(f"{devices} devices in {batch.seconds:.2f} s = {rates[-1]:.1f}/s; CPU seconds: {cpu}")
    say(f"**{statistics.median(rates):.1f} devices/s (median of {runs})**")


def memory() -> None:
    """64 slots at once: the station's peak memory."""
    batch = measure_batch(64)
    say(f"64 slots: {batch.units / batch.seconds:.1f} devices/s, **station's peak memory {batch.peak_mb:.0f} MB**")


def slow_signer(devices: int = 8, runs: int = 3) -> None:
    """8 slots at once on the emulated board, the factory's token at 8 signatures a second against as fast as it is."""
    for board in ("emulated", "native"):
        seconds = {}
        for sign_ms in (0, 125):
            found = [measure_batch(devices, board=board, sign_ms=sign_ms).seconds for _ in range(runs)]
            seconds[sign_ms] = statistics.median(found)
            say(f"{board}, {sign_ms} ms a signature: {', '.join(f'{each:.2f}' for each in found)} s")
        say(f"**{board}: {devices} units in {seconds[125]:.2f} s with 8 signatures/s, {seconds[0]:.2f} s without**")


def start() -> None:
    """`station --help`, whole process."""
    times = []
    for _ in range(11):
        began = time.monotonic()
        subprocess.run(
            [str(Path(sys.executable).with_name("station")), "--help"], stdout=subprocess.DEVNULL, check=True
        )
        times.append(time.monotonic() - began)
    say(f"**station --help: {statistics.median(times) * 1000:.0f} ms** (median of 11)")


ALL: dict[str, Callable[[], None]] = {
    "remainder": remainder, "throughput": throughput, "paced": paced, "memory": memory, "start": start,
    "slow_signer": slow_signer,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="measurements")
    for name in parser.parse_args().names or ALL:
        say(f"\n## {name}\n{ALL[name].__doc__}\n")
        ALL[name]()


if __name__ == "__main__":
    main()
