"""Commands start fast and importing has no effects: heavy libraries load inside commands, nothing runs at import."""

import importlib
import os
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.imports.tree import TOP, sources

COMMANDS = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]  # command → module:function
HEAVY = ("alembic", "cryptography", "fastapi", "httpx2", "pkcs11", "pydantic", "rich", "sqlalchemy", "uvicorn")
START_S = 0.3
ALARMS = ("socket.bind", "socket.connect", "sqlite3.connect", "subprocess.Popen", "os.mkdir", "os.remove", "os.fork")


def python(code: str, *args: str, cwd: Path = TOP) -> str:
    """What the code prints in an interpreter of its own, run in `cwd`."""
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = (
    "import importlib, sys; importlib.import_module(sys.argv[1]); print(*[h for h in sys.argv[2:] if h in sys.modules])"
)


@pytest.mark.parametrize("target", COMMANDS.values())
def test_command_line_imports_nothing_heavy(target: str) -> None:
    module, _ = target.split(":")
    assert python(LOADED, module, *HEAVY).split() == []


def test_planted_heavy_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import sqlalchemy")
    assert python(LOADED, "planted", *HEAVY, cwd=tmp_path).split() == ["sqlalchemy"]


def start(command: str, *words: str) -> tuple[float, float, str]:
    """Processor seconds and wall-clock seconds of `command words --help`, and what it prints."""
    module, function = COMMANDS[command].split(":")
    script = f"import sys; sys.argv[0] = {command!r}; from {module} import {function}; sys.exit({function}())"
    whole = [sys.executable, "-c", script, *words, "--help"]
    began = time.monotonic()
    process = subprocess.Popen(whole, cwd=TOP, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, time.monotonic() - began, text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_starts_fast(command: str) -> None:
    runs = [start(command) for _ in range(5)]
    # Processor time: tests share the processors with other tests, and the wall clock would measure those.
    processor, wall = (statistics.median(run[which] for run in runs) for which in (0, 1))
    print(f"{command} --help: {processor:.3f} s processor, {wall:.3f} s wall clock, median of {len(runs)}")
    assert processor <= START_S
    assert "Usage" in runs[0][2]


def commands_in(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, with the words that lead there."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands_in(command.get_command(context, name), (*path, name))


def unexplained(command: click.Command) -> list[str]:
    """What of this command its `--help` does not explain."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    missing = [each.opts[0] for each in options if not each.help and not each.hidden]
    return missing if command.help else ["the command itself", *missing]


def root_command(target: str) -> click.Command:
    """The command line behind the entry point of a package."""
    package, _, entry = target.partition(".")
    assert entry == "__main__:main"
    loaded = importlib.import_module(f"{package}.cli")
    assert isinstance(loaded.cli, click.Command)
    return loaded.cli


@pytest.mark.timeout(60)  # a dozen interpreters start, beside whatever else is running
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_fast(command: str) -> None:
    silent, slow = {}, {}
    for words, each in commands_in(root_command(COMMANDS[command])):
        silent[words] = unexplained(each)
        took, *_ = start(command, *words)
        slow[words] = took if took <= START_S else min(took, start(command, *words)[0])
    assert {words: missing for words, missing in silent.items() if missing} == {}
    assert {words: seconds for words, seconds in slow.items() if seconds > START_S} == {}


def test_unexplained_option_is_seen() -> None:
    planted = click.Command("planted", params=[click.Option(["--force"]), click.Option(["--count"], help="How many.")])
    assert unexplained(planted) == ["the command itself", "--force"]


EFFECTS = """
import importlib, os, sys
def hook(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if event in ALARMS or (writes and not str(args[0]).startswith("/dev/")):
        print("effect:", event, args[:2])
ALARMS = set(sys.argv[1].split(","))
sys.dont_write_bytecode = True
names = sys.argv[2:]
sys.addaudithook(hook)
for name in names:
    print("module:", name)
    importlib.import_module(name)
import threading
print(*(f"effect: thread {thread.name}" for thread in threading.enumerate()[1:]), sep="\\n")
"""


def effects(names: list[str], cwd: Path = TOP) -> list[str]:
    """What importing these modules does beyond importing: files written, sockets, processes, databases, threads."""
    lines = python(EFFECTS, ",".join(ALARMS), *names, cwd=cwd).splitlines()
    return [line for line in lines if line.startswith("effect:")]


def test_importing_has_no_effects() -> None:
    names = [
        module.name
        for module in sources()
        if not module.name.startswith("migrations") and not module.name.endswith("__main__")
    ]
    assert len(names) > len(COMMANDS)
    assert effects(names) == []


@pytest.mark.parametrize(
    "planted",
    [
        "open('left-behind', 'w').close()",
        "import socket; socket.socket().bind(('127.0.0.1', 0))",
        "import threading, time; threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_planted_effect_is_seen(planted: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(planted)
    assert effects(["planted"], cwd=tmp_path) != []
