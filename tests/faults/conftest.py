"""Runs a campaign in a process of its own and tells the terminal what it counted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.faults.result import Result

TOP = Path(__file__).resolve().parents[2]
_PROGRAMS = {name: f"tests.faults.{name}" for name in ("real", "generating", "token")}
RunCampaign = Callable[..., Result]


@pytest.fixture
def campaign(record_property) -> RunCampaign:
    def run(name: str, part: str = "0/1", *more: str) -> Result:
        program = [_PROGRAMS[name]] if name in _PROGRAMS else ["tests.faults.campaign", name]
        argv = [sys.executable, "-m", *program, "--part", part, *more]
        done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        result = msgspec.json.decode(done.stdout, type=Result)
        pairs = f"{result.pairs} ordered pairs, " if result.pairs else ""
        told = f"{result.points} points, {pairs}{result.trials} trials, {len(result.violations)} violations"
        record_property("figures", f"faults {name} {part}: {told}, {result.children} killed, {result.seconds} s")
        if result.figures:
            record_property("figures", f"faults {name} {part}: {result.figures}")
        return result

    return run
