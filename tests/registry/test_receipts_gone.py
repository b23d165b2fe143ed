"""A newest act that is removed with all its rows: unseen by the database alone, named by the signer's memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from hsm.counters.file import StoreError
from hsm.counters.receipted import receipted
from registry.checking import findings
from registry.checking.receipts import gone
from registry.database import Database
from registry.settings import SetupError
from tests.registry.benching import site_with_signer
from tests.registry.living import Living
from tests.registry.make import ec_key

_OF_ACTS = ("receipts", "revocations", "signature_r", "pin_acts", "order_counts")


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Living:
    return site_with_signer(database, tmp_path)


def listed(tmp_path: Path) -> list[bytes]:
    return [msgspec.json.encode(each) for each in receipted(tmp_path / "cloud" / "counters.db")]


def counts(path: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as opened:
        return {table: set(opened.execute(f"SELECT * FROM {table}")) for table in _OF_ACTS}


def put_back(path: Path, before: dict[str, set[tuple[object, ...]]]) -> Iterator[str]:
    """Everything about acts as it was before, counts too, as whoever owns the tables can."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        opened.execute("PRAGMA foreign_keys = OFF")
        for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            opened.execute(f"DROP TRIGGER {name}")
        for table, rows in before.items():
            kept = opened.execute(f"SELECT * FROM {table}").fetchall()
            opened.execute(f"DELETE FROM {table}")
            for row in rows:
                opened.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            yield f"{table}: {len(kept) - len(rows)} removed"


@pytest.mark.parametrize("kind", ["scrap", "repin"])
def test_an_act_that_is_gone_with_all_its_rows(site: Living, tmp_path: Path, kind: str) -> None:
    path = Path(str(site.database.engine.url.database))
    device, other = site.device(), site.device()
    before = counts(path)
    if kind == "scrap":
        site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    else:
        site.repinned(device, ec_key())
    now, trusted = site.now, site.made.trusted
    assert list(gone(site.database, listed(tmp_path))) == [], "nothing is missing, and nothing is said"
    done = list(put_back(path, before))
    assert "pin_acts: 1 removed" in done
    assert site.read(device).state == "active"
    assert [str(each) for each in findings.findings(site.database, trusted, now)] == [], (
        "control: alone it sees nothing"
    )
    (found,) = gone(site.database, listed(tmp_path))
    assert found.table == "receipts"
    assert f"of device {device.device_id} at" in found.text
    assert str(other.device_id) not in found.text


def test_what_is_no_list_and_no_signers_memory(site: Living, tmp_path: Path) -> None:
    for line in (b"", b"{}", b"[]", b"\xff", b'{"statement_sha256": 1}'):
        with pytest.raises(SetupError, match="line 1"):
            list(gone(site.database, [line]))
    with pytest.raises(StoreError, match="name the signer's directory"):
        list(receipted(tmp_path / "nothing.db"))
    with pytest.raises(StoreError, match="no counters file"):
        list(receipted(Path(str(site.database.engine.url.database))))
