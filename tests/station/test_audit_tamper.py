"""Any change to any stored row is found and named: every table, every column, by somebody with write access to the file.

The file is changed with plain SQLite behind dropped triggers (which are put back). The control is the untouched file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from station.audit import AuditReport, audit
from station.jobs.schema import open_database
from tests.registry.make import World, world
from tests.station import ledgerkit as kit

TABLES = [
    "leaves", "checkpoints", "checkpoint_intents", "orders", "jobs", "events", "records", "keys", "signature_r", "outbox",
    "deliveries", "papers",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plant:
    """A busy station's ledger, as a file to copy, and the trust root it was made under."""

    made: World
    template: Path

    def copy(self, directory: Path) -> Path:
        path = directory / "tampered.db"
        shutil.copy(self.template, path)
        return path

    def audit(self, path: Path) -> AuditReport:
        engine = open_database(path, read_only=True)
        try:
            return audit(engine, self.made.trusted, kit.STATION)
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    made, path = world(), tmp_path_factory.mktemp("audit") / "station.db"
    kit.run(kit.filled_station(path, made))
    return Plant(made, path)


def test_the_untouched_ledger_verifies(plant: Plant) -> None:
    report = plant.audit(plant.template)
    assert [str(finding) for finding in report.findings] == []
    assert (report.leaves, report.covered) == (38, 38)
    assert (report.jobs, report.pinned, report.passed) == (5, 3, 3)
    assert (report.proved, report.waived, report.not_asked) == (0, 0, 3)
    assert report.root_hash.hex() in report.summary
    assert "checkpoint over 38" in report.summary


def test_every_table_is_in_the_sweep(plant: Plant) -> None:
    assert sorted(TABLES) == kit.tables(plant.template)
    for table in TABLES:
        assert kit.rows(plant.template, f"SELECT count(*) FROM {table}") > [(1,)], table


ROW = dict.fromkeys(("orders", "jobs", "records", "signature_r"), "leaf_index")  # these have no rowid


def changes(path: Path, table: str) -> Iterator[tuple[str, str, int]]:
    """For each column: SQL that changes it in one row, the column, the row's place (first, middle, last)."""
    with closing(sqlite3.connect(path)) as connection:
        columns = connection.execute(f"SELECT name, type FROM pragma_table_info('{table}')").fetchall()
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    for name, kind in columns:
        for place in sorted({0, count // 2, count - 1}):
            key = ROW.get(table, "rowid")
            where = f"WHERE {key} = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {place})"
            yield f'UPDATE {table} SET "{name}" = {_other(name, kind)} {where}', name, place


def _other(name: str, kind: str) -> str:
    column = f'"{name}"'
    match kind:
        case "INTEGER":
            return f"{column} + 1000"
        case "TEXT":
            # one character of the same length class, so that no CHECK on the length gives it away
            return f"substr({column}, 1, length({column}) - 1) || iif(substr({column}, -1) = '0', '1', '0')"
        case "BLOB":
            last = f"iif(substr({column}, -1) = x'00', x'01', x'00')"
            return f"CAST(coalesce(substr({column}, 1, length({column}) - 1), '') || {last} AS BLOB)"
        case _:
            raise AssertionError(kind)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("table", TABLES)
def test_every_changed_column_is_found_and_named(plant: Plant, tmp_path: Path, table: str) -> None:
    tried = 0
    for sql, column, place in changes(plant.template, table):
        path = plant.copy(tmp_path)
        before = kit.rows(path, f"SELECT * FROM {table} ORDER BY 1")
        kit.vandalise(path, sql)
        after = kit.rows(path, f"SELECT * FROM {table} ORDER BY 1")
        assert before != after, f"the fault was not planted: {sql}"
        findings = plant.audit(path).findings
        assert any(found.table == table for found in findings), f"{table}.{column} row {place}: {findings}"
        tried += 1
    assert tried >= 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("table", TABLES)
def test_every_deleted_row_is_found_and_named(plant: Plant, tmp_path: Path, table: str) -> None:
    key = ROW.get(table, "rowid")
    for (rowid,) in kit.rows(plant.template, f"SELECT {key} FROM {table}"):
        path = plant.copy(tmp_path)
        kit.vandalise(path, f"DELETE FROM {table} WHERE {key} = {rowid}")
        findings = plant.audit(path).findings
        if table == "leaves" and rowid == 37:  # the last row leaves no gap: the checkpoint says that one is gone
            assert any(found.table == "checkpoints" and "the log was cut" in found.text for found in findings)
        else:
            assert any(found.table == table for found in findings), f"{table} row {rowid}: {findings}"


@pytest.mark.parametrize("table", TABLES)
def test_every_emptied_table_is_found(plant: Plant, tmp_path: Path, table: str) -> None:
    path = plant.copy(tmp_path)
    kit.vandalise(path, f"DELETE FROM {table}")
    assert plant.audit(path).findings


INSERTED = {
    "leaves": "SELECT 38, entry, leaf_hash, frontier, subject, 'again' FROM leaves WHERE \"index\" = 37",
    "checkpoints": "SELECT 34, note FROM checkpoints ORDER BY size DESC LIMIT 1",
    "checkpoint_intents": "VALUES (40, 38)",
    "orders": "SELECT 'order-9', order_sha256, 40 FROM orders LIMIT 1",
    "jobs": "SELECT replace(job_id, substr(job_id, 1, 1), 'g'), device_id, 'order-9', 0, 40 FROM jobs LIMIT 1",
    "events": "VALUES (40, '', '', '', 0, 'verdict')",
    "records": "SELECT job_id, 'completion', 'st', 40 FROM records WHERE job_id NOT IN "
    "(SELECT job_id FROM records WHERE kind = 'completion') LIMIT 1",
    "keys": "SELECT 40, 'ff', NULL, 'ff'",
    "signature_r": "SELECT zeroblob(32), job_id, leaf_index FROM signature_r LIMIT 1",
    "outbox": "SELECT 3, job_id, 'intent' FROM outbox LIMIT 1",
    "deliveries": "SELECT leaf_index, 40 FROM outbox WHERE leaf_index NOT IN (SELECT outbox_leaf FROM deliveries) LIMIT 1",
    "papers": "VALUES (40, 'balance', '')",
}


@pytest.mark.parametrize("table", TABLES)
def test_every_inserted_row_is_found_and_named(plant: Plant, tmp_path: Path, table: str) -> None:
    path = plant.copy(tmp_path)
    (before,) = kit.rows(path, f"SELECT count(*) FROM {table}")[0]
    kit.vandalise(path, f"INSERT INTO {table} {INSERTED[table]}")
    assert kit.rows(path, f"SELECT count(*) FROM {table}") == [(before + 1,)]
    findings = plant.audit(path).findings
    assert any(found.table == table for found in findings), findings


def test_reordered_leaves_are_found_and_named(plant: Plant, tmp_path: Path) -> None:
    for first, second in [(0, 1), (4, 5), (7, 20), (36, 37)]:
        path = plant.copy(tmp_path)
        swap = [
            f'UPDATE leaves SET "index" = 900 WHERE "index" = {first}',
            f'UPDATE leaves SET "index" = {first} WHERE "index" = {second}',
            f'UPDATE leaves SET "index" = {second} WHERE "index" = 900',
        ]
        kit.vandalise(path, *swap)
        leaves = [found for found in plant.audit(path).findings if found.table == "leaves"]
        assert leaves[0].row == str(first), (first, second, leaves)


def test_the_first_bad_row_comes_first(plant: Plant, tmp_path: Path) -> None:
    path = plant.copy(tmp_path)
    kit.vandalise(path, "UPDATE leaves SET entry = CAST(entry || x'20' AS BLOB) WHERE \"index\" = 17")
    findings = plant.audit(path).findings
    assert str(findings[0]).startswith("leaves row 17: ")
    # rows after it are named only where they rest on it: the later statements of the same job
    assert {found.row for found in findings if found.table == "leaves"} <= {"17", "18", "19", "20"}


def test_a_cut_log_is_found_by_its_checkpoint(plant: Plant, tmp_path: Path) -> None:
    """Every row from a leaf on is taken away consistently; only what was signed still knows them."""
    path = plant.copy(tmp_path)
    columns = {"deliveries": "answer_leaf", "checkpoints": "size - 2", "checkpoint_intents": "size - 2"}
    tables = [table for table in TABLES if table not in {"leaves", "checkpoints", "checkpoint_intents"}]
    cuts = [f"DELETE FROM {table} WHERE {columns.get(table, 'leaf_index')} >= 36" for table in tables]
    kit.vandalise(path, 'DELETE FROM leaves WHERE "index" >= 36', *cuts)
    findings = plant.audit(path).findings
    assert {(found.table, found.row) for found in findings} == {("checkpoints", "38"), ("checkpoint_intents", "38")}


@pytest.mark.parametrize("kind", ["trigger", "index", "table", "revision", "no revision"])
def test_a_changed_schema_is_named(plant: Plant, tmp_path: Path, kind: str) -> None:
    changed = {
        "trigger": "DROP TRIGGER leaves_no_update",
        "index": "DROP INDEX ix_jobs_order_id",
        "table": "CREATE TABLE leaves_2 (a)",
        "revision": "UPDATE alembic_version SET version_num = '0001'",
        "no revision": "DELETE FROM alembic_version",
    }
    path = plant.copy(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(changed[kind])
    (found,) = plant.audit(path).findings
    assert (found.check, found.table) == (13, "schema")


def test_text_that_is_no_text_is_a_finding_not_a_crash(plant: Plant, tmp_path: Path) -> None:
    path = plant.copy(tmp_path)
    kit.vandalise(
        path, "UPDATE jobs SET order_id = CAST(x'6f72ff' AS TEXT) WHERE leaf_index = (SELECT max(leaf_index) FROM jobs)"
    )
    assert any(found.table == "jobs" for found in plant.audit(path).findings)


def test_another_root_or_station_is_refused(plant: Plant) -> None:
    engine = open_database(plant.template, read_only=True)
    other = audit(engine, world().trusted, kit.STATION)
    assert {8, 9} <= {found.check for found in other.findings}
    assert other.covered == 0
    neighbour = audit(engine, plant.made.trusted, "station-02")
    assert 8 in {found.check for found in neighbour.findings}
    engine.dispose()
