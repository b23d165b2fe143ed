"""Every command that a document shows can be typed: it exists, with these options; and README leaves none out."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hsm.cli import cli as signer
from registry.cli import cli as registry
from station.cli import cli as station
from tests.docs.pages import PAGES, TOP, page, quoted, rows, section

PROGRAMS: dict[str, click.Command] = {"station": station, "station-signer": signer, "station-registry": registry}
START = re.compile(r"(?:\.venv/bin/)?(station|station-signer|station-registry|make|python) \S")
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (\S.*)$", re.MULTILINE)


def shown(text: str) -> Iterator[str]:
    """The commands in a page's shell blocks, code spans and tables; options in a command's row belong to it."""
    text = text.replace("\\\n", " ")
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()] + INDENTED.findall(text)
    for row in rows(text):
        first = quoted(row[0])
        if first and START.match(first[0]):
            yield " ".join([first[0], *(each for cell in row[1:] for each in quoted(cell) if each.startswith("--"))])
    for each in [*lines, *quoted(re.sub(FENCED, "", text))]:
        if START.match(each):
            yield each.partition("  ")[0].partition(" #")[0].rstrip(" &")


def wrong(command: str) -> str | None:
    """Why the command cannot be typed; None if it can."""
    words = shlex.split(command)
    words[0] = words[0].removeprefix(".venv/bin/")
    if words[0] == "make":
        return wrong_make(words[1:])
    if words[0] == "python":
        there = importlib.util.find_spec(words[2]) if words[1] == "-m" else (TOP / words[1]).exists()
        return None if there else f"{command}: not there"
    found, rest = descend(words)
    if isinstance(found, click.Group) and not {"--help", "--version"} & set(rest):
        return f"{command}: no such command"
    options = {name for each in found.params for name in each.opts} | {"--help", "--version", "…"}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
    return f"{command}: no option {unknown[0]}" if unknown else None


def descend(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words lead to, and the words after it."""
    found, rest = PROGRAMS[words[0]], words[1:]
    while isinstance(found, click.Group) and rest:
        under = found.get_command(click.Context(found), rest[0])
        if under is None:
            break
        found, rest = under, rest[1:]
    return found, rest


def wrong_make(words: list[str]) -> str | None:
    """Targets and variables must stand in the Makefile."""
    makefile = page("Makefile")
    for word in (each for each in words if not each.startswith("-")):
        name, variable, _ = word.partition("=")
        if not re.search(
            rf"^{name}\s*\?=" if variable else rf"^(?:\S+ )*{name}(?: \S+)*:(?!=)", makefile, re.MULTILINE
        ):
            return f"make {word}: not in the Makefile"
    return None


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """All commands of a program with the words that lead to them."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for each in command.list_commands(context):
        yield from leaves(f"{name} {each}", command.get_command(context, each))


LEAVES = dict(pair for name, program in PROGRAMS.items() for pair in leaves(name, program))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_commands_can_be_typed(path: Path) -> None:
    assert [found for command in shown(path.read_text("utf-8")) if (found := wrong(command))] == []


def test_enough_is_looked_at() -> None:
    assert len(set(shown(page("README.md")))) > 12
    assert len(set(shown(page("docs/operator.md")))) > 5


@pytest.mark.parametrize(
    "planted",
    ["`station fly`", "`station run --order F --fast`", "`station ledger`", "```sh\nstation-signer sign FILE\n```",
     "`make coffee`", "`make demo SUGAR=1`", "`python -m station.nothing`", "| `station check` | `--loud` |\n"],
)  # fmt: skip
def test_planted_command_is_refused(planted: str) -> None:
    assert any(wrong(command) for command in shown(planted))


def test_readme_leaves_no_command_out() -> None:
    listed = {re.sub(r" (--.*|[A-Z-]+)$", "", name[0]) for row in rows(page("README.md")) if (name := quoted(row[0]))}
    assert set(LEAVES) <= listed


def test_every_option_of_a_batch_has_its_row() -> None:
    told = {name.split()[0] for row in rows(section(page("docs/operator.md"), "## A batch")) for name in quoted(row[0])}
    assert told | {"--order", "--config"} == {name for each in LEAVES["station run"].params for name in each.opts}


@pytest.mark.parametrize("name", LEAVES)
def test_help_works(name: str) -> None:
    program, *words = name.split()
    done = CliRunner().invoke(PROGRAMS[program], [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output
