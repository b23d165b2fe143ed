"""`station-registry pin` and `check`, typed: what is proved, what is named, and the exit codes."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from registry.database import Database, sqlite_url
from tests import warm
from tests.registry.living import WHO, living
from tests.trust.people import approved_by, file_of
from trust.root_file import wrap


def registry(*words: object) -> tuple[int, str, str]:
    done = warm.run([sys.executable, "-m", "registry", *map(str, words)], timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.timeout(120)  # ten programs
def test_what_is_proved_and_what_is_not(tmp_path: Path) -> None:
    place, root = tmp_path / "registry", tmp_path / "root.json"
    assert (
        registry("init", "--dir", place, "--name", "registry-01", "--environment", "demo", "--host", "localhost")[0]
        == 0
    )
    database = Database.open(sqlite_url(place / "registry.db"))
    site = living(database)
    device, plain = site.device(), site.device()
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    database.close()
    root.write_bytes(file_of(approved_by(wrap(site.made.trusted.root), WHO["ada"], WHO["ben"])))
    where = ("--dir", place, "--root", root)
    code, out, _ = registry("pin", "show", *where, device.device_id)
    assert (code, out.splitlines()[0]) == (0, f"device {device.device_id}: scrapped")
    code, out, _ = registry("pin", "acts", *where, "--jsonl", device.device_id)
    assert code == 0
    assert json.loads(out)["by"] == ["pia", "quinn"]
    code, out, err = registry("pin", "acts", *where, plain.device_id)
    assert (code, out, "nobody has had anything done" in err) == (0, "", True), err
    assert registry("pin", "show", *where, "ab" * 12)[0] == 1
    code, out, err = registry("check", *where)
    assert (code, out) == (0, ""), err
    assert "2 devices" in err and "nothing found" in err
    listed = tmp_path / "receipted"
    said = {"statement_sha256": "ab" * 32, "subject": "act", "device_id": "cd" * 12, "registered_at": "2026-11-30"}
    listed.write_text(json.dumps(said) + "\n")
    code, out, _ = registry("check", *where, "--against", listed)
    assert (code, f"receipts {'ab' * 32}: missing: the signer receipted an act on a pin of device {'cd' * 12}" in out) == (
        8, True,
    ), out  # fmt: skip
    listed.write_text("[]\n")
    code, out, err = registry("check", *where, "--against", listed)
    assert (code, "line 1 is no receipt" in err) == (2, True), err
    with closing(sqlite3.connect(place / "registry.db", isolation_level=None)) as opened:
        opened.execute("DROP TRIGGER pin_acts_no_update")
        opened.execute("UPDATE pin_acts SET state = 'active'")
    code, out, _ = registry("check", *where)
    assert code == 8
    assert f"pin_acts {device.device_id} number 1: state is 'active'" in out
    code, out, err = registry("pin", "show", *where, device.device_id)
    assert (code, out) == (8, "")
    assert "does not verify" in err
