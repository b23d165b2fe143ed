"""Commands in hints are shown as this user can type them: by name where PATH leads there, else with the way there."""

import subprocess
import sys
from pathlib import Path

import pytest

from station.cli.called import as_called, typeable
from tests.cli.commands import STATION, typed


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


def test_commands_in_sentences(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/station"])
    told = (
        "Start the signer (station-signer serve); run station ledger verify. This station runs: a station demonstrates."
    )
    assert typeable(told) == told.replace("station-signer s", ".venv/bin/station-signer s").replace(
        "station ledger", ".venv/bin/station ledger"
    )
    assert typeable(typeable(told)) == typeable(told)


def test_usage_is_as_typed() -> None:
    done = subprocess.run(
        [STATION, "run", "--help"], cwd=Path(STATION).parents[1], capture_output=True, text=True, env={"PATH": "/bin"}, check=True
    )  # fmt: skip
    assert done.stdout.startswith("Usage: bin/station run [OPTIONS]")
    assert typed("run", "--help").out.startswith("Usage: station run [OPTIONS]")
