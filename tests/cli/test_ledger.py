"""`station ledger`: verify names the first bad row and exits with 8; report counts."""

import base64
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from station.cli.ledger import _besides, _row
from station.exits import Exit
from station.order_report import OrderReport
from station.root import load_root
from tests.cli.commands import Done, station, typed
from tests.cli.plant import Site
from trust.signed_note import verify

NO_COUNTS = {"order", "finish_me", "to_quarantine", "waived"}
pytestmark = pytest.mark.xdist_group("site")


@contextmanager
def tampered(site: Site, name: str) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Settings over a copy of the ledger, and its database without the triggers that protect it."""
    copy = site.state / f"{name}.db"
    with sqlite3.connect(f"file:{site.state / 'station' / 'ledger.db'}?mode=ro", uri=True) as source:
        shutil.copy(site.state / "station" / "ledger.db", copy)
        triggers = [row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    database = sqlite3.connect(copy, isolation_level=None)
    for trigger in triggers:
        database.execute(f"DROP TRIGGER {trigger}")
    yield site.config_with(name, ('"station/ledger.db"', f'"{name}.db"')), database
    database.close()


def test_a_ledger_that_holds(site: Site, first_batch: Done) -> None:
    done = station("ledger", "verify", "--config", site.config)
    assert (done.code, done.err, len(done.lines)) == (0, "", 5), done
    assert re.fullmatch(r"handshakes: (\d+ \w+, )*\d+ not asked", done.lines[3])
    assert re.fullmatch(r"goes on from the signer's last head, over \d+ leaves", done.lines[4])
    assert done.lines[0].startswith("ledger verifies: ")
    assert re.fullmatch(r"jobs: \d+, \d+ pinned, \d+ passed; \d+ of the units are emulated", done.lines[2])
    assert (
        typed("ledger", "verify", "--config", site.config, "--jsonl").objects[0]["root_hash"] == done.lines[1].strip()
    )


@pytest.mark.parametrize("row", [0, 3, 11])
def test_a_byte_flip_is_found_and_its_row_is_named_first(site: Site, first_batch: Done, row: int) -> None:
    with tampered(site, f"flipped-{row}") as (config, database):
        (entry,) = database.execute('SELECT entry FROM leaves WHERE "index" = ?', (row,)).fetchone()
        flipped = bytearray(entry)
        flipped[len(entry) // 2] ^= 1
        database.execute('UPDATE leaves SET entry = ? WHERE "index" = ?', (bytes(flipped), row))
    done = (station if row == 3 else typed)("ledger", "verify", "--config", config)
    assert done.code == Exit.AUDIT_FAILED
    assert done.lines[0].startswith(f"BAD  leaves row {row}: "), done.out
    assert "do not use it, call the security officer" in done.err
    (first, *_) = typed("ledger", "verify", "--config", config, "--jsonl").objects
    assert (first["table"], first["row"]) == ("leaves", str(row))


@pytest.mark.parametrize("said", [{"device_id": "f" * 24}, {"\x1b[2J\nledger verifies\u202e": 1}])
def test_a_leaf_made_to_break_the_audit_or_the_screen_is_a_finding(
    site: Site, first_batch: Done, said: dict[str, object]
) -> None:
    with tampered(site, f"hostile-{len(said)}-{'device_id' in said}") as (config, database):
        leaves = database.execute('SELECT "index", entry FROM leaves').fetchall()
        row, entry = next((row, json.loads(entry)) for row, entry in leaves if b"vnd.keystation.pin.v1" in entry)
        payload = {**json.loads(base64.b64decode(entry["payload"])), **said}
        words = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
        entry["payload"] = base64.b64encode(json.dumps(payload, **words).encode()).decode()  # type: ignore[arg-type]
        changed = json.dumps(entry, **words).encode()  # type: ignore[arg-type]
        database.execute('UPDATE leaves SET entry = ? WHERE "index" = ?', (changed, row))
    done = station("ledger", "verify", "--config", config)
    assert done.code == Exit.AUDIT_FAILED, done
    assert any(line.startswith(f"BAD  leaves row {row}: ") for line in done.lines)
    assert all(line.startswith("BAD  ") and line.isprintable() for line in done.out.rstrip("\n").split("\n")), done.out
    wanted = "cannot be judged" if "device_id" in said else "unknown field `·[2J·ledger verifies·`"
    assert wanted in done.out


def test_a_missing_trigger_alone_is_found(site: Site, first_batch: Done) -> None:
    with tampered(site, "bare") as (config, _):
        pass
    done = typed("ledger", "verify", "--config", config)
    assert done.code == Exit.AUDIT_FAILED
    assert any("leaves_no_update" in line for line in done.lines), done.out


def test_the_newest_checkpoint_is_a_note_to_keep(site: Site, first_batch: Done, tmp_path: Path) -> None:
    kept = tmp_path / "kept.note"
    done = station("ledger", "checkpoint", "--config", site.config)
    assert (done.code, done.err) == (0, "")
    kept.write_text(done.out)
    root = load_root(site.state / "root.json").root
    head = verify(done.out, "demo/st-01/log", root.station("st-01").log)
    words = ["ledger", "verify", "--config", site.config, "--checkpoint", kept]
    checked = station(*words)
    assert (checked.code, checked.err) == (0, "")
    assert checked.lines[-1] == f"goes on from the checkpoint given, over {head.size} leaves"
    (told,) = typed(*words, "--jsonl").objects
    assert (told["signer"] >= head.size, told["checkpoint"]) == (True, head.size)


def test_a_checkpoint_that_is_none_of_this_log(site: Site, first_batch: Done, tmp_path: Path) -> None:
    kept = tmp_path / "kept.note"
    good = typed("ledger", "checkpoint", "--config", site.config).out
    for text, told in {
        good.replace("demo/st-01/log", "demo/st-02/log"): "is no checkpoint of demo/st-01/log by the log key",
        good.replace("\n", "\n9", 1): "does not verify",
        "nonsense": "is no checkpoint of",
    }.items():
        kept.write_text(text)
        done = typed("ledger", "verify", "--config", site.config, "--checkpoint", kept)
        assert (done.code, done.out) == (Exit.USAGE, "")
        assert told in done.err
    done = typed("ledger", "verify", "--config", site.config, "--checkpoint", tmp_path / "none.note")
    assert (done.code, "No such file or directory" in done.err) == (Exit.USAGE, True)


def make_triggers(site: Site, database: sqlite3.Connection) -> None:
    """Those of the site's own ledger: nothing of the schema shows that somebody was at it."""
    own = sqlite3.connect(site.state / "station" / "ledger.db")
    for (sql,) in own.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'"):
        database.execute(sql)
    own.close()


def test_a_checkpoint_that_is_not_stored_is_no_alarm_before_the_signer_was_asked(site: Site, first_batch: Done) -> None:
    with tampered(site, "interrupted") as (config, database):
        database.execute("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)")
        make_triggers(site, database)
    done = station("ledger", "verify", "--config", config)
    assert done.code == Exit.AUDIT_FAILED, done
    assert "was asked for and is not stored" in done.lines[0]
    assert done.err.startswith("the signer has signed it, and the end of a batch asks for it again")
    with site.without("signer-factory"):
        blind = station("ledger", "verify", "--config", config)
    assert blind.code == Exit.AUDIT_FAILED
    assert "start the signer, verify again" in blind.err
    assert "security officer" not in blind.err


def test_a_ledger_rewritten_whole(site: Site, first_batch: Done, tmp_path: Path) -> None:
    """All checkpoints dropped: the signer knows better, and so does who kept one."""
    kept = tmp_path / "kept.note"
    kept.write_text(typed("ledger", "checkpoint", "--config", site.config).out)
    with tampered(site, "rewritten") as (config, database):
        database.execute("DELETE FROM checkpoints")
        database.execute("DELETE FROM checkpoint_intents")
        make_triggers(site, database)
    done = station("ledger", "verify", "--config", config)
    assert (done.code, len(done.lines)) == (Exit.AUDIT_FAILED, 2), done
    assert "the last head that the signer has signed is over " in done.lines[0]
    assert "no checkpoint covers a leaf" in done.lines[1]
    with site.without("signer-factory"):
        blind = station("ledger", "verify", "--config", config)
        aided = station("ledger", "verify", "--config", config, "--checkpoint", kept)
        sound = station("ledger", "verify", "--config", site.config)
    assert (blind.code, len(blind.lines)) == (Exit.AUDIT_FAILED, 1)
    assert blind.err.startswith("not compared with the signer: no answer from the signer at ")
    assert f"the checkpoint in {kept} is over " in aided.lines[0]
    assert (sound.code, len(sound.lines)) == (0, 4)
    assert sound.err.startswith("not compared with the signer: ")
    none = station("ledger", "checkpoint", "--config", config)
    assert (none.code, none.out) == (Exit.USAGE, "")
    assert "there is no checkpoint yet" in none.err


def test_a_report_is_a_table_and_the_head_of_the_log(site: Site, first_batch: Done) -> None:
    done = station("ledger", "report", "--config", site.config)
    assert (done.code, done.err) == (0, "")
    head = ["order", "total", "passed", "active", "held", "quarantined", "lost", "in", "work", "unused"]
    assert done.lines[0].split() == head
    (mine,) = [line.split() for line in done.lines if line.startswith("main ")]
    assert mine == ["main", "1100", "2", "2", "0", "0", "0", "0", "1098"]
    assert "order main: 2 units signed for, all emulated" in done.lines
    assert "order main: handshakes: 2 not asked" in done.lines
    *orders, log = typed("ledger", "report", "--config", site.config, "--jsonl").objects
    assert done.lines[-2:] == [f"log: {log['leaves']} leaves, root hash", f"     {log['root_hash']}"]
    for order in orders:
        ends = ("passed", "held", "quarantined", "lost", "scrapped", "in_work", "unused")
        assert order["quantity"] + order["allowance"] == sum(order[name] for name in ends)
        assert len(order["finish_me"]) == order["held"]
        assert order["passed"] == order["proved"] + len(order["waived"]) + order["not_asked"]


def test_besides_the_table_only_what_there_is() -> None:
    counts = dict.fromkeys((each for each in OrderReport.__struct_fields__ if each not in NO_COUNTS), 0)
    told = OrderReport(order="o", finish_me=(), **{**counts, "quantity": 9, "unused": 3})
    assert list(_besides(told)) == []
    told = msgspec.structs.replace(
        told,
        emulated=2,
        before_signing=1,
        turned_away=8,
        not_taken=1,
        scrapped=1,
        finish_me=("ab",),
        proved=1,
        waived={"cd": "service-away", "ef": "no-tunnel"},
    )
    assert list(_besides(told)) == [
        "order o: 6 units signed for, 2 emulated",
        "order o: handshakes: 1 proved, 2 waived",
        "waived     cd  order o: passed without a live handshake (service-away)",
        "waived     ef  order o: passed without a live handshake (no-tunnel)",
        "finish me  ab  order o",
        "order o: the registry refused the completions of 1 unit, call the line engineer",
        "order o: 1 unit not signed for: waiting, or ended before",
        "order o: 1 unit scrapped",
        "order o: 8 units turned away before a job was begun",
    ]


@pytest.mark.parametrize(
    "name", ["o", "fifteen-letters", "sixteen-letters-", "order-2026-11-23.lamp.line-4.second-shift"]
)
def test_a_row_has_the_orders_whole_id_within_80_columns(name: str) -> None:
    counts = dict.fromkeys((each for each in OrderReport.__struct_fields__ if each not in NO_COUNTS), 7)
    lines = list(_row(OrderReport(order=name, finish_me=(), **counts), min(len(name), 15)))
    assert lines[0].split()[0] == name
    assert len(lines) == (1 if len(name) <= 15 else 2)
    assert max(map(len, lines)) <= 80


def test_no_ledger_yet(site: Site) -> None:
    config = site.config_with("fresh", ('"station/ledger.db"', '"nowhere/ledger.db"'))
    for command in ("verify", "report", "checkpoint"):
        done = typed("ledger", command, "--config", config)
        assert (done.code, done.out) == (Exit.USAGE, "")
        assert "nowhere/ledger.db" in done.err
