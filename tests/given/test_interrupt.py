"""Ctrl-C at any moment of a program's life: 130, no traceback, and no other code. Where it is to be ignored, it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "station": ["station", "check"],
    "hsm": ["hsm", "status", "--dir", "nowhere"],
    "registry": ["registry", "serve", "--dir", "nowhere", "--root", "r"],
    "fixtures.bench": ["fixtures.bench", "--board", "native", "--dir", "nowhere"],
}
# Where the module is asked for, the signal comes: a moment that no clock can hit for certain.
AT_IMPORT = """
import os, runpy, signal, sys
class Hit:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Hit())
sys.argv = {argv!r}
runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
"""
GUARDED = """
import signal, os, sys, time
from given.interrupt import guarded
def program():
    {body}
{before}
sys.exit(guarded(lambda: program))
"""


def python(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, timeout=15, check=False
    )


MOMENTS = [
    ("station", "click"), ("station", "station.readiness"), ("hsm", "click"), ("hsm", "hsm.config"),
    ("registry", "click"), ("registry", "registry.settings"), ("fixtures.bench", "argparse"),
    ("fixtures.bench", "fixtures.bench.boards"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "module"), MOMENTS)
def test_while_it_loads(name: str, module: str, tmp_path: Path) -> None:
    done = python(AT_IMPORT.format(module=module, argv=PROGRAMS[name], program=name), tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert done.stderr.strip() in {"interrupted", "station-signer: interrupted", ""}


def test_control_without_the_guard_there_is_a_traceback(tmp_path: Path) -> None:
    done = python(AT_IMPORT.format(module="click", argv=["x"], program="station.cli"), tmp_path)
    assert done.returncode != 130 and "KeyboardInterrupt" in done.stderr


KILL = "os.kill(os.getpid(), signal.SIGINT); time.sleep(1)"


@pytest.mark.parametrize(
    ("body", "before", "code", "said"),
    [
        (KILL, "", 130, "interrupted\n"),  # at work, and it does not take it itself
        ("return 5", "", 5, ""),
        (KILL + "; return 7", "signal.signal(signal.SIGINT, signal.SIG_IGN)", 7, ""),  # nohup, a shell's &
        ("import atexit; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT)); return 3", "", 3, ""),
    ],
    ids=["at work", "quiet", "ignored", "as it ends"],
)
def test_a_guarded_program(body: str, before: str, code: int, said: str, tmp_path: Path) -> None:
    done = python(GUARDED.format(body=body, before=before), tmp_path)
    assert (done.returncode, done.stderr) == (code, said)
