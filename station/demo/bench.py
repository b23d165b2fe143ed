"""The demo's devices: `python -m fixtures.bench`, one process a product. The slots file tells the station of them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from station.demo.processes import Process
from station.faults import fault

_READY_S = 60.0
_PRODUCT_IDS = {"ec": 1001, "rsa": 1002}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How many devices of which product on which board."""

    product: Literal["ec", "rsa"]
    board: str
    devices: int

    @property
    def product_id(self) -> int:
        """What the devices' factory page says."""
        return _PRODUCT_IDS[self.product]


@dataclass(frozen=True, slots=True)
class RunningBench:
    """A bench that has been started; `wait` for its slots file."""

    bench: Bench
    slots: Path
    process: Process

    def wait(self) -> Path:
        """The slots file, once every device has answered."""
        self.process.wait_until(self.slots.exists, _READY_S)
        return self.slots


def start_bench(bench: Bench, state: Path, stack: ExitStack) -> RunningBench:
    """Start the devices; they stop with the demo."""
    where = state / f"bench-{bench.product}"
    slots = where / "slots.toml"
    slots.unlink(missing_ok=True)
    argv = [
        sys.executable, "-m", "fixtures.bench", "--board", bench.board, "--devices", str(bench.devices),
        "--dir", str(where), "--product", str(bench.product_id), "--prefix", bench.product,
    ]  # fmt: skip
    process = stack.enter_context(Process(argv, state / "logs" / f"bench-{bench.product}.log"))
    return RunningBench(bench, slots, process)


def firmware_sha256(board: str) -> str:
    """SHA-256 of the image that this board's devices run, as its build says: what a product owner puts in the order."""
    argv = [sys.executable, "-m", "fixtures.bench", "--board", board, "--firmware"]
    asked = subprocess.run(argv, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise fault("setup", asked.stderr.strip())
    return asked.stdout.strip()
