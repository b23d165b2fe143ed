"""The command line of `station-signer`: help that names exit codes, and what is said of mistypings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hsm.cli import cli
from hsm.token.user_pin import UserPinError, read_user_pin
from tests import warm


def commands(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands((*words, name), each)


@pytest.mark.parametrize("words", list(commands((), cli)), ids=" ".join)
def test_help_names_the_exit_codes(words: tuple[str, ...]) -> None:
    said = " ".join(CliRunner().invoke(cli, [*words, "--help"]).output.split())
    assert "Exit codes: 0 done · 2 usage or set-up" in said
    asks = words[-1:] == ("approve",) or words[:1] == ("approver",)
    assert ("130 interrupted" in said) == (
        asks or words in {(), ("root",), ("order",), ("act",), ("device",), ("minutes",)}
    )


def typed(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hsm", *map(str, words)]
    return warm.run(command, cwd=place, timeout=30)


@pytest.mark.parametrize(("words", "said"), [
    (("order", "new", "--form", "x"), "Did you mean '--from'? Try: station-signer order new --help"),
    (("act", "new", "--lift-stop", "--out", "x"), "--lift-stop needs a value, and --out is an option. Try: station-signer act new"),
    (("act", "new", "--reason", "--out", "x"), "--reason needs a value, and --out is an option."),
])  # fmt: skip
def test_what_was_mistyped_is_said_in_whole_sentences(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = typed(tmp_path, *words)
    assert (done.returncode, said in done.stderr, "?." in done.stderr) == (2, True, False), done.stderr


def test_a_signer_that_does_not_answer_is_told_how_to_start(tmp_path: Path, factory_dir: Path) -> None:
    done = typed(tmp_path, "status", "--dir", factory_dir)
    assert done.returncode == 6
    assert f"it is not running; start it (station-signer serve --dir {factory_dir} --root ROOT" in done.stderr


def test_a_signer_for_a_site_on_a_soft_token_is_told_what_serve_refuses(tmp_path: Path) -> None:
    words = ("init", "--role", "factory", "--name", "st-01", "--dir")
    site = typed(tmp_path, *words, "site", "--environment", "plant-a")
    assert (site.returncode, "serve takes this soft token only under a trust root" in site.stderr) == (0, True)
    assert "soft_tokens" not in typed(tmp_path, *words, "demo").stderr


@pytest.mark.parametrize(("make", "said"), [
    (Path.mkdir, "is a directory, not the file that holds the PIN"),
    (lambda path: path.symlink_to("x"), "is a symbolic link, not the file"),
], ids=["directory", "link"])  # fmt: skip
def test_another_kind_of_file_for_the_pin_is_named(tmp_path: Path, make: object, said: str) -> None:
    assert callable(make)
    make(tmp_path / "user-pin")
    with pytest.raises(UserPinError, match=said):
        read_user_pin("file:user-pin", tmp_path, environment="demo")
