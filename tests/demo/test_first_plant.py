"""The first steps of docs/deployment.md, typed from top to bottom: from no key at all to a batch that has passed."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks, page, section

STEPS = section(page("docs/deployment.md"), "## First steps")
FIRST = [name for name in blocks(STEPS) if name.startswith("first_")]
PORT = "8443"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        yield Path(name)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def script(*without: str) -> str:
    """The blocks in their order, the root's TOML written where the page says so; the port is a free one."""
    toml = re.search(r"```toml\n(.*?)```", STEPS, re.DOTALL)
    assert toml
    parts = {**blocks(STEPS), "root.toml": f"cat >root.toml <<'END'\n{toml[1]}END\n"}
    order = [each for name in FIRST for each in (["root.toml", name] if name == "first_root" else [name])]
    return "".join(parts[name] for name in order if name not in without).replace(PORT, free_port())


def typed(text: str, directory: Path, seconds: float) -> tuple[int, str, str]:
    """In a shell of its own, in a directory that looks like the top of a clone; nothing of it runs afterwards."""
    (directory / ".venv").symlink_to(Path(sys.executable).parents[1])
    shell = subprocess.Popen(
        ["bash", "-eu", "-c", text], cwd=directory, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = shell.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    return shell.returncode, out, err


def test_every_step_is_there() -> None:
    assert [
        f"first_{each}"
        for each in ("place", "people", "signers", "root", "ceremony", "servers", "station", "order", "batch", "down")
    ] == FIRST


@pytest.mark.timeout(150)
def test_a_first_batch_passes(place: Path) -> None:
    code, out, err = typed(script(), place, 140)
    assert code == 0, (out, err)
    assert "order lamps-1: 2 passed, 0 failed, 0 held, 0 quarantined" in out
    for signer in ("st-01", "registry-01"):
        assert f"on record: ceremony of signer {signer}, approved by ada, ben" in out
    assert "ledger verifies: " in out
    assert "warning: stations go to" not in err


@pytest.mark.timeout(60)
def test_control_a_root_of_one_officer_is_the_end_of_it(place: Path) -> None:
    """The steps are looked at: without ben's approval the last line of step 3 ends them."""
    both = "for person in ada ben; do\n    station-signer root approve"
    assert both in script()
    code, out, err = typed(script().replace(both, both.replace("ada ben", "ada")), place, 50)
    assert (code, "PASS" in out) == (2, False), (out, err)
    assert "are wanted" in err.splitlines()[-1], err
