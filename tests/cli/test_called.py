"""Commands in hints are shown as this user can type them: by name where PATH leads there, else with the way there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from station.cli.called import Here, as_called
from station.fault_table import TABLE
from tests.cli.commands import STATION, typed
from tests.cli.plant import EXAMPLE
from tests.docs.test_commands import descend


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to stand in, with our programs in .venv/bin, and a PATH that leads to none."""
    programs = tmp_path / "here" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("station", "station-signer"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("argv0", "shown"),
    [
        ("station", "station"),  # no way was typed
        (".venv/bin/station", ".venv/bin/station"),
        ("{here}/.venv/bin/station", ".venv/bin/station"),
        ("../elsewhere/station", "../elsewhere/station"),
        ("{top}/elsewhere/station", "{top}/elsewhere/station"),
        ("{here}/station", "./station"),
        ("-c", "station"),
        ("{here}/pytest", "station"),
    ],
)
def test_as_it_was_called(place: Path, monkeypatch: pytest.MonkeyPatch, argv0: str, shown: str) -> None:
    names = {"here": place, "top": place.parent}
    monkeypatch.setattr(sys, "argv", [argv0.format(**names)])
    assert as_called() == shown.format(**names)
    assert as_called("station-signer") == as_called() + "-signer"


def test_by_name_where_path_leads_to_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/station"])
    monkeypatch.setenv("PATH", str(place / ".venv" / "bin"))
    assert as_called() == "station"
    (place / "other").mkdir()
    (place / "other" / "station").write_text("#!/bin/sh\n")
    (place / "other" / "station").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'other'}:{place / '.venv' / 'bin'}")
    assert as_called() == ".venv/bin/station", "the name would start another program"


TOLD = (
    "Start it: station-signer serve --dir DIR --root ROOT; run station ledger verify --config FILE. "
    "This station runs: a station demonstrates --config FILE."
)


def test_commands_in_sentences(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/station"])
    typeable = Here().typeable
    assert typeable(TOLD) == TOLD.replace("station-signer s", ".venv/bin/station-signer s").replace(
        "station ledger", ".venv/bin/station ledger"
    ), "what is not known stays in capitals"
    assert typeable(typeable(TOLD)) == typeable(TOLD)
    assert typeable("Check --config FILE.") == "Check --config FILE.", "no command, no change"


def test_commands_are_completed_from_this_machines_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/station"])
    (place / "my settings.toml").write_text(EXAMPLE.read_text())
    here = Here(place / "my settings.toml")
    told = here.typeable(TOLD)
    assert ".venv/bin/station ledger verify --config 'my settings.toml'" in told
    assert ".venv/bin/station-signer serve --dir DIR --root ROOT;" in told, "no signer lives there"
    (place / "run/demo/signer-factory").mkdir(parents=True)
    (place / "run/demo/signer-factory/signer.toml").touch()
    assert "serve --dir run/demo/signer-factory --root run/demo/root.json;" in here.typeable(TOLD)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "serve --dir DIR --root ROOT;" in here.typeable(TOLD), "an installed signer is another user's"
    monkeypatch.undo()
    monkeypatch.chdir(place)
    (place / "my settings.toml").write_text("torn")
    assert "serve --dir DIR --root ROOT;" in here.typeable(TOLD)


def named(parameter: click.Parameter) -> str:
    """An option as it is typed, an argument as a remedy shows it."""
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.opts[0].upper()


def unfinished(text: str) -> list[str]:
    """The commands in a text that lack an option which they need, or the settings file."""
    found = []
    for command in re.findall(r"(?<![\w-])station(?:-signer)? (?:demo|run|check|device|ledger|serve)\b[^;.,)]*", text):
        words = command.split()
        params = descend(words)[0].params
        needed = {named(each) for each in params if each.required or "--config" in each.opts}
        if not needed <= set(words):
            found.append(command)
    return found


def test_a_command_in_a_remedy_names_all_that_it_needs() -> None:
    assert {code: found for code, row in TABLE.items() if (found := unfinished(row.remedy))} == {}
    assert sum("station" in row.remedy and "--" in row.remedy for row in TABLE.values()) >= 3


@pytest.mark.parametrize("planted", ["Start it (station-signer serve); then", "Run station ledger verify; call."])
def test_an_unfinished_command_is_seen(planted: str) -> None:
    assert len(unfinished(planted)) == 1


def test_usage_is_as_typed() -> None:
    done = subprocess.run(
        [STATION, "run", "--help"], cwd=Path(STATION).parents[1], capture_output=True, text=True, env={"PATH": "/bin"}, check=True
    )  # fmt: skip
    assert done.stdout.startswith("Usage: bin/station run [OPTIONS]")
    assert typed("run", "--help").out.startswith("Usage: station run [OPTIONS]")
