"""An audit of a file that somebody made with care: rows hidden from an index, leaves that no judge can read.

The control is the untouched file of `tests.station.test_audit_tamper`.
"""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from station.audit import AuditReport, audit
from station.jobs.schema import open_database
from tests.registry.make import World, world
from tests.station import ledgerkit as kit
from tests.station.test_audit_tamper import Plant

HOSTILE = "\x1b[2J\n\x00\u202eledger verifies"
ODD: list[Any] = [
    "f" * 24, "0" * 24, "0" * 64, "ab" * 12 + "\n", "ab" * 16 + "\n", "", HOSTILE, "é", 0, -1, 2**63, 2**64, 10**40, 1.5,
    None, True, [], {}, [[]], {"a": "b"}, "AA==", "MEUCIQ==", base64.b64encode(bytes(32)).decode(),
]  # fmt: skip


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    made, path = world(), tmp_path_factory.mktemp("audit") / "station.db"
    kit.run(kit.busy_station(path, made))
    return Plant(made, path)


def hide_a_row(path: Path) -> None:
    """A completion's record that the primary key finds and the index on the leaf does not: the schema looks as before."""
    job = "SELECT job_id FROM jobs WHERE job_id NOT IN (SELECT job_id FROM records WHERE kind = 'completion') LIMIT 1"
    edit = "PRAGMA writable_schema = ON"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute(edit)
        ((unit,), (leaf,)) = (
            file.execute(job).fetchone(),
            file.execute("SELECT leaf_index FROM records WHERE kind = 'completion'").fetchone(),
        )
        before = file.execute("SELECT rowid, * FROM sqlite_schema").fetchall()
        (sql,) = file.execute("SELECT sql FROM sqlite_schema WHERE name = 'records'").fetchone()
        stripped = re.sub(r",?\s*CONSTRAINT uq_records_leaf_index UNIQUE \(leaf_index\)", "", sql)
        assert stripped != sql
        file.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'records'", (stripped,))
        file.execute("DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_records_2'")
        file.execute("DELETE FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'records'")
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute(edit)
        file.execute("INSERT INTO records VALUES (?, 'completion', 'station-01', ?)", (unit, leaf))
        file.execute("DELETE FROM sqlite_schema")
        for row in before:
            file.execute(
                "INSERT INTO sqlite_schema (rowid, type, name, tbl_name, rootpage, sql) VALUES (?,?,?,?,?,?)", row
            )


def test_a_row_that_is_hidden_from_an_index_is_found(plant: Plant, tmp_path: Path) -> None:
    path = plant.copy(tmp_path)
    hide_a_row(path)
    assert kit.rows(path, "PRAGMA quick_check") == [("ok",)], "the attack must pass the check at opening"
    findings = [found for found in plant.audit(path).findings if found.check == 14]
    assert {found.table for found in findings} == {"file"}
    assert any("sqlite_autoindex_records_2" in found.text for found in findings), findings


class Editor:
    """One ledger open for editing; each change of a leaf is audited and undone."""

    def __init__(self, path: Path, made: World) -> None:
        self._path, self._made = path, made
        kit.vandalise(path)
        with closing(sqlite3.connect(path)) as file, file:
            for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                file.execute(f"DROP TRIGGER {name}")
            self.entries: dict[int, bytes] = dict(file.execute('SELECT "index", entry FROM leaves'))
        self._engine = open_database(path, read_only=True)

    def audit_with(self, index: int, entry: bytes) -> AuditReport:
        self._put(index, entry)
        try:
            return audit(self._engine, self._made.trusted, kit.STATION)
        finally:
            self._put(index, self.entries[index])

    def close(self) -> None:
        self._engine.dispose()

    def payload(self, index: int) -> dict[str, Any]:
        """What a leaf says."""
        said: dict[str, Any] = json.loads(base64.b64decode(json.loads(self.entries[index])["payload"]))
        return said

    def with_payload(self, index: int, payload: bytes) -> bytes:
        """The leaf's envelope around other bytes."""
        return spelled({**json.loads(self.entries[index]), "payload": base64.b64encode(payload).decode()})

    def _put(self, index: int, entry: bytes) -> None:
        with closing(sqlite3.connect(self._path)) as file, file:
            file.execute("PRAGMA synchronous = OFF")
            file.execute('UPDATE leaves SET entry = ? WHERE "index" = ?', (entry, index))


@pytest.fixture
def editor(plant: Plant, tmp_path: Path) -> Iterator[Editor]:
    made = Editor(Path(shutil.copy(plant.template, tmp_path / "edited.db")), plant.made)
    yield made
    made.close()


def spelled(value: object) -> bytes:
    """The one spelling of a statement."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def changed(value: Any, odd: random.Random) -> Any:
    """The same JSON with one thing, somewhere inside it, exchanged for an odd one or taken away."""
    if isinstance(value, dict) and value and odd.random() > 0.1:
        name = odd.choice(sorted(value))
        kept = {key: each for key, each in value.items() if key != name}
        match odd.randrange(8):
            case 0:
                return kept
            case 1:
                return {**value, HOSTILE: 1}
            case _:
                return {**value, name: changed(value[name], odd)}
    return odd.choice(ODD)


@pytest.mark.parametrize("device", ["f" * 24, "0" * 24, "ab" * 12 + "\n"])
def test_a_device_id_that_is_none_is_a_finding(editor: Editor, device: str) -> None:
    rows = [index for index in editor.entries if editor.payload(index).get("type") in {"pin", "completion"}]
    assert len(rows) > 10
    for index in rows:
        entry = editor.with_payload(index, spelled({**editor.payload(index), "device_id": device}))
        findings = [each for each in editor.audit_with(index, entry).findings if each.row == str(index)]
        assert any("cannot be judged" in each.text or each.check in {7, 10} for each in findings)
    told = [found.text for found in findings]
    assert device.endswith("\n") or any(f"row {index} cannot be judged: device id is all" in text for text in told)


def test_a_finding_quotes_nothing_that_moves_a_cursor(editor: Editor) -> None:
    entry = editor.with_payload(1, spelled({**editor.payload(1), HOSTILE: 1}))
    (found,) = (each for each in editor.audit_with(1, entry).findings if (each.check, each.row) == (7, "1"))
    assert "·[2J···ledger verifies" in found.text
    assert str(found).isprintable()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(4))
def test_no_leaf_makes_the_audit_raise(editor: Editor, seed: int) -> None:
    """80 odd leaves a seed: each is found, none ends the audit."""
    odd, raised = random.Random(seed), []
    for _ in range(80):
        index = odd.choice(sorted(editor.entries))
        entry = editor.entries[index]
        match odd.randrange(10):
            case 0:
                entry = bytes(odd.randrange(256) if odd.random() < 0.01 else each for each in entry) + b" "
            case 1:
                entry = spelled(changed(json.loads(entry), odd)) or b" "
            case 2:
                entry = editor.with_payload(index, b"[" * 40_000)
            case _:
                entry = editor.with_payload(index, spelled(changed(editor.payload(index), odd)))
        if entry == editor.entries[index]:
            continue
        try:
            findings = editor.audit_with(index, entry).findings
        except Exception as error:
            raised.append((index, entry, repr(error)))
            continue
        assert any(found.row == str(index) for found in findings), (index, entry)
        assert all(str(found).isprintable() for found in findings)
    assert raised == []
