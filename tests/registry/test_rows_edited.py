"""Rows edited in the database itself, past its triggers: readers refuse each, and the check of the whole names it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary

from hsm.signer import AuthorisationRequest
from registry.checking.findings import findings
from registry.database import Database, sqlite_url
from registry.pins.reading import UntrustedError, current
from registry.pins.rows import of_device, of_devices
from registry.tables import (
    completions,
    metadata,
    orders,
    pin_acts,
    pins,
    receipts,
    rekey_words,
    revocations,
    signature_r,
)
from tests.registry.living import WHO, Living, confirmed, living
from tests.registry.make import Device, ec_key
from tests.trust.pin_acts import NOW, utc
from trust.rekey import Step

EDITED = (orders, pins, completions, receipts, signature_r, pin_acts, revocations, rekey_words)
_FEW = 4
COLUMNS = [(table.name, column.name) for table in EDITED for column in table.columns]


@dataclass(frozen=True, slots=True)
class Filled:
    """A database file with devices of every kind, the world it belongs to, and their ids.

    `open` is a copy from which somebody with the file in hand has taken all triggers.
    """

    path: Path
    open: Path
    site: Living
    devices: tuple[str, ...]


def fill(site: Living) -> tuple[str, ...]:
    """An active device that was opened; one that was re-keyed, re-pinned and revoked; one scrapped and taken back; one never finished."""
    plain, renewed, back, burned = site.device(), site.device(), site.device(), site.device(active=False)
    second, third = ec_key(), ec_key()
    act = site.act(renewed, "rekey", ends_at=utc(NOW + timedelta(days=7)))
    shown = site.shown(renewed, act, second, leave=site.leave(act), old=True)
    site.acts.repin(renewed.device_id, act, shown)
    site.acts.do(renewed.device_id, "revoke", site.act(renewed, "revoke"))  # the expiring one
    now = Device(key=second, device_id=renewed.device_id, job=renewed.job)
    site.repinned(now, third, ends_at=utc(NOW + timedelta(days=7)))
    site.acts.do(back.device_id, "scrap", site.act(back, "scrap"))
    site.acts.do(back.device_id, "unscrap", site.act(back, "unscrap", was="scrapped"))
    site.acts.do(burned.device_id, "scrap", site.act(burned, "scrap", WHO["pia"], was="provisional"), confirmed)
    opened = site.act(plain, "rekey", change="unlock", key_type="")
    request = AuthorisationRequest(act=opened, step=Step.UNLOCK, nonce="5a" * 32)
    site.acts.authorise(plain.device_id, request)
    return tuple(str(each.device_id) for each in (plain, renewed, back, burned))


@pytest.fixture(scope="module")
def filled(migrated: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    path = tmp_path_factory.mktemp("edited") / "registry.db"
    path.write_bytes(migrated)
    database = Database.open(sqlite_url(path))
    site = living(database)
    devices = fill(site)
    stripped = path.with_name("stripped.db")
    shutil.copyfile(path, stripped)
    with closing(sqlite3.connect(stripped, isolation_level=None)) as opened:
        opened.execute("PRAGMA synchronous = OFF")
        for (name,) in opened.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            opened.execute(f"DROP TRIGGER {name}")
    yield Filled(path, stripped, site, devices)
    database.close()


@contextmanager
def edited(filled: Filled, place: Path, *statements: tuple[str, tuple[Any, ...]]) -> Iterator[Database]:
    """A copy in which somebody with the file in hand has run these, with nothing to stop him."""
    copy = place / "copy.db"
    shutil.copyfile(filled.open, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as opened:
        opened.execute("PRAGMA ignore_check_constraints = ON")
        opened.execute("PRAGMA synchronous = OFF")
        for sql, values in statements:
            assert opened.execute(sql, values).rowcount > 0, sql
    database = Database.open(sqlite_url(copy))
    yield database
    database.close()


def refused(filled: Filled, database: Database) -> set[str]:
    """The devices that readers tell nothing of: what is stored of them does not verify, or is not there."""
    found = set()
    for device in filled.devices:
        with database.read() as connection:
            rows = of_device(connection, device)
        try:
            if rows is None:
                raise UntrustedError([])
            current(rows, filled.site.made.trusted, NOW)
        except (UntrustedError, IndexError):
            found.add(device)
    return found


def named(filled: Filled, database: Database) -> set[str]:
    """Tables in which the check has found something."""
    return {each.table for each in findings(database, filled.site.made.trusted, NOW)}


def keys_of(table: str) -> list[str]:
    return [column.name for column in metadata.tables[table].primary_key]


def rows_of(filled: Filled, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(filled.path)) as opened:
        opened.row_factory = sqlite3.Row
        found = opened.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys_of(table))}").fetchall()
    return [dict(row) for row in found[: _FEW if table == "signature_r" else None]]  # they are all alike


def other(value: Any, *, blob: bool) -> Any:
    """Another value that looks as good."""
    match value:
        case None:
            return bytes(32) if blob else "00" * 32
        case int():
            return value + 7
        case bytes():
            middle = len(value) // 2
            return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
        case str() if value in {"active", "scrapped"}:
            return "revoked"
        case str() if value.endswith("Z"):
            return value.replace("2026-", "2025-")
        case _:
            return ("1" if value[0] != "1" else "2") + value[1:]


def test_control_nothing_is_found_in_a_database_as_it_is(filled: Filled, tmp_path: Path) -> None:
    assert list(findings(filled.site.database, filled.site.made.trusted, NOW)) == []
    with edited(filled, tmp_path) as copy:
        assert list(findings(copy, filled.site.made.trusted, NOW + timedelta(days=4000))) == []
        assert refused(filled, copy) == set()


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edit_of_any_column_is_refused_and_named(filled: Filled, tmp_path: Path, table: str, column: str) -> None:
    for number, row in enumerate(rows_of(filled, table)):
        where = " AND ".join(f"{each} = ?" for each in keys_of(table))
        edit = f"UPDATE {table} SET {column} = ? WHERE {where}"
        blob = isinstance(metadata.tables[table].c[column].type, LargeBinary)
        values = (other(row[column], blob=blob), *(row[each] for each in keys_of(table)))
        with edited(filled, tmp_path, (edit, values)) as copy:
            # As good as gone: the check names what it left.
            moved_away = column == "device_id" and table in {"pin_acts", "rekey_words"}
            assert refused(filled, copy) or moved_away, (table, column, number, row)
            assert table in named(filled, copy), (table, column, number, row)


@pytest.mark.parametrize("table", [table.name for table in EDITED if table is not rekey_words])  # nothing follows them
def test_a_row_that_is_gone_is_named(filled: Filled, tmp_path: Path, table: str) -> None:
    for row in rows_of(filled, table):
        where = " AND ".join(f"{each} = ?" for each in keys_of(table))
        with edited(
            filled, tmp_path, (f"DELETE FROM {table} WHERE {where}", tuple(row[each] for each in keys_of(table)))
        ) as copy:
            assert named(filled, copy), row


@pytest.mark.parametrize("table", ["pins", "completions", "pin_acts", "revocations", "receipts"])
def test_what_was_signed_for_another_row_is_refused(filled: Filled, tmp_path: Path, table: str) -> None:
    """Every envelope holds by itself, and not where it stands now."""
    rows = rows_of(filled, table)
    column = {"pin_acts": "act", "receipts": "envelope", "revocations": "envelope"}.get(table, "statement")
    where = " AND ".join(f"{each} = ?" for each in keys_of(table))
    edit = f"UPDATE {table} SET {column} = ? WHERE {where}"
    for row, theirs in zip(rows, [*rows[1:], rows[0]], strict=True):
        with edited(filled, tmp_path, (edit, (theirs[column], *(row[each] for each in keys_of(table))))) as copy:
            assert refused(filled, copy)
            assert named(filled, copy) & {table, "receipts"}


def test_a_row_beside_all_others_is_named(filled: Filled, tmp_path: Path) -> None:
    stray = ("INSERT INTO receipts VALUES (?, ?)", ("ab" * 32, rows_of(filled, "receipts")[0]["envelope"]))
    with edited(filled, tmp_path, stray) as copy:
        assert named(filled, copy) == {"receipts"}
    stray = ("INSERT INTO signature_r VALUES (?, ?)", (b"r" * 32, filled.devices[0]))
    with edited(filled, tmp_path, stray) as copy:
        assert named(filled, copy) == {"signature_r"}
        assert refused(filled, copy) == {filled.devices[0]}


@pytest.mark.parametrize("kind", ["revoke", "scrap"])
def test_an_act_that_too_few_have_signed_is_no_act_however_it_came_into_the_table(
    filled: Filled, tmp_path: Path, kind: str
) -> None:
    site, device = filled.site, site_device(filled, 0)
    act = site.act(device, kind, WHO["pia"])
    columns = {
        "device_id": filled.devices[0], "number": 1, "kind": kind, "was": "active", "act": act.to_json(),
        "act_sha256": act.payload_sha256, "state": "revoked" if kind == "revoke" else "scrapped",
        "fingerprint": rows_of(filled, "pins")[0]["fingerprint"], "registered_at": utc(NOW),
    }  # fmt: skip
    insert = f"INSERT INTO pin_acts ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    with edited(filled, tmp_path, (insert, tuple(columns.values()))) as copy:
        assert refused(filled, copy) == {filled.devices[0]}
        assert "pin_acts" in named(filled, copy)


def site_device(filled: Filled, number: int) -> Device:
    return filled.site.devices[filled.devices[number]]


def test_the_check_holds_few_devices_at_a_time_and_misses_none(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def counted(connection: Any, ids: Any) -> Any:
        held.append(len(ids))
        return of_devices(connection, ids)

    monkeypatch.setattr("registry.checking.findings.of_devices", counted)
    monkeypatch.setattr("registry.checking.findings._DEVICES", 1)
    monkeypatch.setattr("registry.checking.chunks._ROWS", 2)
    monkeypatch.setattr("registry.checking.leases._CHUNK", 1)
    for device in filled.devices:
        edit = ("UPDATE pins SET registered_at = '2025-01-01T00:00:00.000Z' WHERE device_id = ?", (device,))
        with edited(filled, tmp_path, edit) as copy:
            assert [each.key for each in findings(copy, filled.site.made.trusted, NOW)] == [device]
    assert max(held) == 1
