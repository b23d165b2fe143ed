"""`station-registry pin acts` tells what acts have let a device do, though no pin shows it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli import cli
from registry.database import Database, sqlite_url
from tests.registry.benching import Benched, site_with_signer
from tests.registry.living import WHO
from tests.trust.people import approved_by, file_of
from trust.root_file import wrap


@pytest.mark.timeout(60)
def test_a_unit_that_was_let_open_is_told_with_the_people(tmp_path: Path) -> None:
    place, root = tmp_path / "registry", tmp_path / "root.json"
    about = ["--name", "registry-01", "--environment", "demo", "--host", "localhost"]
    assert CliRunner().invoke(cli, ["init", "--dir", str(place), *about]).exit_code == 0
    database = Database.open(sqlite_url(place / "registry.db"))
    benched = Benched(site_with_signer(database, tmp_path), tmp_path)
    where = ["--dir", str(place), "--root", str(root), str(benched.device.device_id)]
    root.write_bytes(file_of(approved_by(wrap(benched.site.made.trusted.root), WHO["ada"], WHO["ben"])))

    def told(*more: str) -> str:
        done = CliRunner().invoke(cli, ["pin", "acts", *more, *where])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert told() == ""
    act = benched.site.act(benched.device, "rekey", change="unlock", key_type="", reason="a new display")
    asyncio.run(benched.rework(act))
    database.close()
    assert "unlock     let by pia and quinn: a new display" in told()
    said = json.loads(told("--jsonl"))
    assert (said["word"], said["by"], said["act"]["change"]) == ("unlock", ["pia", "quinn"], "unlock")
