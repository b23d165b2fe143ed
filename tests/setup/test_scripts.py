"""The set-up scripts against stand-ins for apt, dpkg, make and the rest: what they call, what they say, what they leave.

The stand-ins write their arguments to a journal. The real thing is tried on a bare machine before a release.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SETUP = TOP / "setup"
NEEDED = ("cat", "cut", "dirname", "env", "grep", "nproc", "sed", "sh", "tail")
BOARD_TOOLS = ("qemu-system-arm", "arm-none-eabi-gcc")


@dataclass(frozen=True, slots=True)
class Machine:
    """A PATH with nothing on it but what a test puts there."""

    path: Path
    journal: Path

    def command(self, name: str, script: str = "") -> None:
        """A stand-in that journals its call and then runs `script`."""
        file = self.path / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.journal}\n{script}\n')
        file.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """The journalled calls of a stand-in, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [line for line in lines if line.startswith(f"{name} ")]

    def run(self, script: str, *args: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess:
        """Runs a set-up script on this machine."""
        command = ["/bin/sh", SETUP / script, *map(str, args)]
        env = {"PATH": str(self.path), **env}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "bin", tmp_path / "journal")
    made.path.mkdir()
    for name in NEEDED:
        found = next(Path(place, name) for place in os.defpath.split(":") if Path(place, name).exists())
        (made.path / name).symlink_to(found)
    made.command("id", "echo 0")
    made.command("apt-get")
    made.command("dpkg-query", "echo installed")
    return made


def without(*missing: str) -> str:
    """A dpkg-query that knows all packages but these."""
    return f'case "$4" in {"|".join(missing)}) exit 1;; *) echo installed;; esac'


def test_nothing_missing_nothing_done(machine: Machine, tmp_path: Path) -> None:
    done = machine.run("packages.sh", "base", tmp_path / "log")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls("apt-get") == []


def test_only_what_is_missing_is_installed(machine: Machine, tmp_path: Path) -> None:
    machine.command("dpkg-query", without("gcc", "softhsm2"))
    assert machine.run("packages.sh", "base", tmp_path / "log").returncode == 0
    *_, install = machine.calls("apt-get")
    assert install.endswith("install -y --no-install-recommends gcc softhsm2")


def test_removed_but_configured_package_is_missing(machine: Machine, tmp_path: Path) -> None:
    machine.command("dpkg-query", "echo config-files")
    machine.run("packages.sh", "board", tmp_path / "log")
    assert "qemu-system-arm" in machine.calls("apt-get")[-1]


def test_update_that_fails_is_no_reason_to_stop(machine: Machine, tmp_path: Path) -> None:
    machine.command("dpkg-query", without("gcc"))
    machine.command("apt-get", 'case "$*" in *update*) exit 100;; esac')
    done = machine.run("packages.sh", "base", tmp_path / "log")
    assert done.returncode == 0
    assert "update failed" in done.stderr


def test_install_that_fails_says_what_and_where(machine: Machine, tmp_path: Path) -> None:
    machine.command("dpkg-query", without("gcc"))
    machine.command("apt-get", 'case "$*" in *install*) echo "E: no such thing"; exit 100;; esac')
    done = machine.run("packages.sh", "base", tmp_path / "log")
    assert done.returncode == 1
    assert "E: no such thing" in done.stderr
    assert f"could not install: gcc. The whole story is in {tmp_path / 'log'}" in done.stderr


def test_not_root_is_told_the_one_command(machine: Machine, tmp_path: Path) -> None:
    machine.command("id", "echo 1000")
    machine.command("dpkg-query", without("gcc", "qemu-system-arm"))
    done = machine.run("packages.sh", "base", tmp_path / "log")
    assert done.returncode == 1
    assert "    apt-get install --no-install-recommends gcc qemu-system-arm\n" in done.stderr
    assert machine.calls("apt-get") == []


def test_not_root_with_sudo_uses_it(machine: Machine, tmp_path: Path) -> None:
    machine.command("id", "echo 1000")
    machine.command("dpkg-query", without("gcc"))
    machine.command("sudo", 'shift; exec "$@"')
    machine.command("true")
    assert machine.run("packages.sh", "base", tmp_path / "log").returncode == 0
    assert all(" DEBIAN_FRONTEND=noninteractive apt-get " in call for call in machine.calls("sudo")[1:])
    assert machine.calls("apt-get")[-1].endswith(" gcc")


Board = Callable[..., tuple[subprocess.CompletedProcess, str]]


@pytest.fixture
def board(machine: Machine, tmp_path: Path) -> Board:
    def run(*tools: str, make: str = "") -> tuple[subprocess.CompletedProcess, str]:
        """Runs firmware.sh where these tools are; the answer and the marker it left."""
        for tool in tools:
            machine.command(tool)
        machine.command("make", make)
        marker = tmp_path / "board"
        done = machine.run("firmware.sh", marker, tmp_path / "log")
        return done, marker.read_text() if marker.exists() else ""

    return run


def test_board_tools_there_is_emulated(board: Board) -> None:
    done, marker = board(*BOARD_TOOLS)
    assert (done.returncode, marker) == (0, "emulated\n")


@pytest.mark.parametrize("tool", BOARD_TOOLS)
def test_board_tool_absent_is_native_and_said_in_one_line(tool: str, board: Board) -> None:
    done, marker = board(*(other for other in BOARD_TOOLS if other != tool))
    assert (done.returncode, marker) == (0, "native\n")
    assert done.stderr == "setup: no QEMU or no cross compiler here: the firmware's native build is used\n"


def test_build_that_fails_is_not_passed_over(board: Board) -> None:
    done, marker = board(*BOARD_TOOLS, make='case "$*" in *emulated*) echo "error: x.c:1"; exit 2;; esac')
    assert (done.returncode, marker) == (1, "")
    assert "error: x.c:1" in done.stderr


@pytest.fixture
def venv(machine: Machine, tmp_path: Path) -> Path:
    """An environment with a package in it; its pip does nothing, and its compiler is the real one."""
    made = tmp_path / "venv"
    packages = made / "lib" / "python3.11" / "site-packages" / "planted"
    packages.mkdir(parents=True)
    (packages / "good.py").write_text("x = 1\n")
    (packages / "of_another_python.py").write_text("print 'x'\n")
    machine.command("environments-python", f'case "$*" in *" pip "*) ;; *) exec {sys.executable} "$@";; esac')
    (made / "bin").mkdir()
    (made / "bin" / "python").symlink_to(machine.path / "environments-python")
    return made


def compiled(directory: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in directory.rglob("__pycache__/*.pyc")}


@pytest.mark.parametrize("variables", [{}, {"PYTHONDONTWRITEBYTECODE": "1"}])
def test_packages_are_compiled_whatever_the_variable_says(
    machine: Machine, venv: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "lock").touch()
    words = ["python", venv, tmp_path / "log", tmp_path / "lock", "--add"]
    done = machine.run("python.sh", *words, cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert compiled(venv) == {"good"}
    assert f"setup: not all of it compiles, see {tmp_path / 'log'}" in done.stderr, "and goes on"
    pip, compiler = machine.calls("environments-python")
    assert " pip " in pip
    assert " -j 0 " in compiler


def test_the_project_itself_is_compiled(machine: Machine, venv: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in [*packages_of_the_project(), "fixtures/firmware"]:
        (project / name).mkdir(parents=True, exist_ok=True)
        (project / name / f"{name.replace('/', '_')}_module.py").touch()
    done = machine.run(
        "python.sh", "python", venv, tmp_path / "log", "project", cwd=project, PYTHONDONTWRITEBYTECODE="1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert compiled(project) == {f"{name}_module" for name in packages_of_the_project()}, "the firmware is not ours"


def packages_of_the_project() -> list[str]:
    find = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    return [name.rstrip("*") for name in find["include"]]


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="no git checkout")
def test_git_ignores_bytecode() -> None:
    path = "station/__pycache__/floor.cpython-311.pyc"
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=TOP, check=False).returncode == 0
