"""What was typed wrong is answered by all three programs alike: one sentence, what to type next, exit code 2."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from station.exits import Exit
from tests.cli.commands import STATION
from tests.docs.test_commands import PROGRAMS

WRONG = [
    ("station", ["fly"], "No such command 'fly'.", "station --help"),
    ("station", ["--fast"], "No such option '--fast'.", "station --help"),
    ("station", ["run"], "Missing option '--order'.", "station run --help"),
    ("station", ["device", "show", "12"], "device id '12': expected 24 hex digits", "station device show --help"),
    ("station", ["ledger", "burn"], "No such command 'burn'.", "station ledger --help"),
    ("station-signer", ["fly"], "No such command 'fly'.", "station-signer --help"),
    ("station-signer", ["serve"], "Missing option '--dir'.", "station-signer serve --help"),
    ("station-registry", ["fly"], "No such command 'fly'.", "station-registry --help"),
    ("station-registry", ["serve", "--port", "x"], "'x' is not a valid integer", "station-registry serve --help"),
]


def typed(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = Path(STATION).with_name(program)
    return subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize(("program", "words", "told", "next_words"), WRONG)
def test_one_sentence_and_what_to_type(program: str, words: list[str], told: str, next_words: str) -> None:
    done = typed(program, *words)
    assert (done.returncode, done.stdout) == (Exit.USAGE, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{program}: ")
    assert told in line
    assert re.search(rf"\. Try: (\S*/)?{re.escape(next_words)}$", line), line


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_words_are_answered_with_help(program: str) -> None:
    done = typed(program)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert "Usage: " in done.stderr
    assert "Commands:" in done.stderr


@pytest.mark.parametrize("program", ["station-signer", "station-registry"])
def test_a_directory_that_cannot_be_made_is_a_sentence(program: str) -> None:
    words = {"station-signer": ["--role", "factory"], "station-registry": ["--environment", "demo", "--host", "h"]}
    done = typed(program, "init", "--dir", "/proc/nowhere", "--name", "a", *words[program])
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    told = f"{program}: /proc/nowhere cannot be made: No such file or directory: choose another --dir\n"
    assert done.stderr == told


def groups(name: str, command: click.Command) -> Iterator[tuple[str, click.Group]]:
    """All commands of a program that have commands of their own."""
    if isinstance(command, click.Group):
        yield name, command
        context = click.Context(command)
        for each in command.list_commands(context):
            yield from groups(f"{name} {each}", command.get_command(context, each))


GROUPS = dict(pair for name, program in PROGRAMS.items() for pair in groups(name, program))


@pytest.mark.parametrize("name", GROUPS)
def test_no_groups_help_is_cut_off(name: str) -> None:
    program, *words = name.split()
    done = typed(program, *words, "--help")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2]
    assert listed.strip()
    assert "..." not in listed


def test_a_cut_off_help_is_seen() -> None:
    group = click.Group("g", commands=[click.Command("c", help="Word " * 40)])
    assert "..." in group.get_help(click.Context(group, terminal_width=80))
