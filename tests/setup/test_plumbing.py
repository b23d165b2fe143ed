"""The shared plumbing of `tests/conftest.py`, tried by a pytest of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
INI = "[pytest]\nmarkers =\n    qemu: …\n"
TESTS = """
import os, pathlib, pytest, time

def see(group, token_directory, short_dir):
    time.sleep(0.05)
    assert len(str(short_dir / "a-socket-of-some-kind.sock")) < 100
    assert str(token_directory) in pathlib.Path(os.environ["SOFTHSM2_CONF"]).read_text()
    with pathlib.Path("seen").open("a") as seen:
        seen.write(f"{group} {os.environ.get('PYTEST_XDIST_WORKER')} {token_directory}\\n")

@pytest.mark.qemu
@pytest.mark.parametrize("n", range(6))
def test_board(n, token_directory, short_dir):
    see("board", token_directory, short_dir)

@pytest.mark.parametrize("n", range(12))
def test_other(n, token_directory, short_dir):
    see("other", token_directory, short_dir)
"""


def run(directory: Path, path: str, *options: str) -> tuple[str, list[list[str]]]:
    """What a pytest on these tests says, and for each test that ran its group, worker and token directory."""
    shutil.copy(CONFTEST, directory)
    (directory / "pytest.ini").write_text(INI)
    (directory / "test_planted.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env = {**clean, "PATH": path}
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    return done.stdout, [line.split() for line in (directory / "seen").read_text().splitlines()]


@pytest.mark.timeout(60)  # three interpreters start, beside whatever else is running
def test_qemu_tests_share_a_worker_and_each_worker_has_its_own_tokens(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("qemu-system-arm", "arm-none-eabi-gcc"):
        (tools / name).touch(mode=0o755)
    said, seen = run(tmp_path, f"{tools}:{os.defpath}", "-n", "2", "--dist", "loadgroup")
    assert "18 passed" in said
    assert len({worker for group, worker, _ in seen if group == "board"}) == 1
    assert {worker for _, worker, _ in seen} == {"gw0", "gw1"}, "nothing was shared out: the check above says nothing"
    assert len({(worker, tokens) for _, worker, tokens in seen}) == len({tokens for *_, tokens in seen}) == 2


def test_without_qemu_they_are_skipped_and_say_why(tmp_path: Path) -> None:
    said, seen = run(tmp_path, str(tmp_path), "-p", "no:xdist")
    assert "12 passed, 6 skipped" in said
    assert "not installed: qemu-system-arm, arm-none-eabi-gcc; see setup/packages-board.txt" in said
    assert {group for group, *_ in seen} == {"other"}
