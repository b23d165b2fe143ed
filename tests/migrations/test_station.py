"""The station's schema as the database tells it: made once, whole or not at all, append-only, and what the code believes."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event

from ledger.engine import Engine, open_engine, writing
from ledger.faults import StoreError
from ledger.tables import Base
from station.jobs import RecordKind, tables
from station.jobs.schema import APPLICATION_ID, SCHEMA_VERSION, migrate, open_database
from tests.registry.make import world
from tests.station import ledgerkit as kit

Ask = Callable[[str], list[tuple[object, ...]]]
TABLES = sorted(Base.metadata.tables)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a row in every table."""
    path = tmp_path_factory.mktemp("schema") / "station.db"
    kit.run(kit.filled_station(path, world()))
    return path


@pytest.fixture
def connection(filled: Path) -> Iterator[sqlite3.Connection]:
    """As an outsider opens the file: no pragma set, nothing ever committed."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as opened:
        opened.execute("BEGIN")
        yield opened
        opened.execute("ROLLBACK")


def test_the_code_knows_every_table_and_version() -> None:
    config = Config()
    config.set_main_option("script_location", "migrations:station")
    heads = ScriptDirectory.from_config(config).get_heads()
    assert heads == [f"{SCHEMA_VERSION:04d}"]
    assert tables.JobRow.__tablename__ in TABLES


def test_columns_and_constraints_are_those_the_code_believes(filled: Path, tmp_path: Path) -> None:
    """The migrations spell everything out; the mappings must say the same. Both are asked of a database."""
    declared = tmp_path / "declared.db"
    with closing(sqlite3.connect(declared)):
        engine = open_engine(declared, application_id=0)
    with writing(engine) as made:
        Base.metadata.create_all(made)
    engine.dispose()
    for table in TABLES:
        for question in (
            f"SELECT cid, name, type, \"notnull\", pk FROM pragma_table_info('{table}')",
            f'SELECT "table", "from", "to" FROM pragma_foreign_key_list(\'{table}\') ORDER BY "from", "table"',
        ):
            assert kit.rows(filled, question) == kit.rows(declared, question), (table, question)
        assert _indexes(filled, table) == _indexes(declared, table)
        assert _constraints(filled, table) == _constraints(declared, table)


def _indexes(path: Path, table: str) -> set[tuple[object, ...]]:
    """Columns, whether unique, and why it is there; SQLite names and numbers its own as they come."""
    found = kit.rows(path, f"SELECT name, \"unique\", origin FROM pragma_index_list('{table}')")
    return {
        (
            unique,
            origin,
            name if origin == "c" else "",
            *kit.rows(path, f"SELECT name FROM pragma_index_info('{name}')"),
        )
        for name, unique, origin in found
    }


def _constraints(path: Path, table: str) -> set[str]:
    ((sql,),) = kit.rows(path, f"SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = '{table}'")
    lines = re.findall(r"CONSTRAINT .*?(?=, CONSTRAINT|\s*\)\s*(?:WITHOUT ROWID|STRICT))", " ".join(sql.split()))
    return {line.replace('"', "").rstrip(", ") for line in lines}


def test_every_table_is_strict(filled: Path) -> None:
    found = dict(kit.rows(filled, "SELECT name, strict FROM pragma_table_list WHERE type = 'table'"))
    assert {table: found[table] for table in TABLES} == dict.fromkeys(TABLES, 1)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_changed_or_deleted(connection: sqlite3.Connection, table: str) -> None:
    columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert count
    for column in columns:
        for update in ("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"):
            change = f'{update} {table} SET "{column}" = "{column}"'
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                connection.execute(change)
    for delete in (f"DELETE FROM {table}", f'DELETE FROM {table} WHERE "{columns[0]}" IS NOT NULL'):
        if connection.execute(delete.replace("DELETE", "SELECT count(*)", 1)).fetchone() != (0,):
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                connection.execute(delete)
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_replaced(connection: sqlite3.Connection, table: str) -> None:
    """INSERT OR REPLACE fires no DELETE trigger on a connection without `recursive_triggers`."""
    assert connection.execute("PRAGMA recursive_triggers").fetchone() == (0,)
    for insert in ("INSERT OR REPLACE", "REPLACE", "INSERT"):
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|without a gap"):
            connection.execute(f"{insert} INTO {table} SELECT * FROM {table} LIMIT 1")


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_replaced_by_its_other_keys(connection: sqlite3.Connection, table: str) -> None:
    """Each unique constraint by itself: every column outside it gets a value that is new."""
    for unique in _uniques(connection, table):
        columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
        fresh = ", ".join(f'"{name}"' if name in unique else _fresh(connection, table, name) for name in columns)
        filled = " AND ".join(f'"{name}" IS NOT NULL' for name in unique)
        replace = f"INSERT OR REPLACE INTO {table} SELECT {fresh} FROM {table} WHERE {filled} LIMIT 1"
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|without a gap"):
            connection.execute(replace)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_replaced_by_its_rowid(connection: sqlite3.Connection, table: str) -> None:
    """All else gets values that are new. A table without an own rowid, or whose key it is, has no way in."""
    columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    ((rowless,),) = connection.execute(f"SELECT wr FROM pragma_table_list('{table}')").fetchall()
    key = {"leaves": "index", "checkpoints": "size", "checkpoint_intents": "size", "deliveries": "outbox_leaf"}
    mine = key.get(table, "leaf_index")
    fresh = ", ".join(_fresh(connection, table, name) for name in columns if name != mine)
    others = ", ".join(f'"{name}"' for name in columns if name != mine)
    replace = f"INSERT OR REPLACE INTO {table} (rowid, {others}) SELECT rowid, {fresh} FROM {table} LIMIT 1"
    with pytest.raises(sqlite3.Error, match="no column named rowid" if rowless else r"append-only|without a gap"):
        connection.execute(replace)


def test_the_rowid_is_a_way_in_where_there_is_one(filled: Path) -> None:
    """The control: the same table and triggers with a rowid of its own lose a row."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as plain:
        for name in ("leaves", "jobs", "signature_r"):
            ((sql,),) = kit.rows(filled, f"SELECT sql FROM sqlite_schema WHERE name = '{name}'")
            plain.execute(sql.replace("WITHOUT ROWID,", "").replace(", STRICT", " STRICT").replace("WITHOUT ROWID", ""))
        ((sql,),) = kit.rows(filled, "SELECT sql FROM sqlite_schema WHERE name = 'signature_r_no_replace'")
        plain.execute(sql)
        plain.execute("INSERT INTO signature_r VALUES (x'01', 'a', 1)")
        plain.execute("INSERT OR REPLACE INTO signature_r (rowid, r, job_id, leaf_index) VALUES (1, x'02', 'b', 2)")
        assert plain.execute("SELECT r FROM signature_r").fetchall() == [(b"\x02",)]


def _uniques(connection: sqlite3.Connection, table: str) -> list[tuple[str, ...]]:
    keys = connection.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk ORDER BY pk").fetchall()
    found = [tuple(name for (name,) in keys)]
    for (index,) in connection.execute(f"SELECT name FROM pragma_index_list('{table}') WHERE \"unique\"").fetchall():
        found.append(tuple(name for (name,) in connection.execute(f"SELECT name FROM pragma_index_info('{index}')")))
    return found


def _fresh(connection: sqlite3.Connection, table: str, column: str) -> str:
    if (table, column) == ("leaves", "index"):
        return '(SELECT max("index") + 1 FROM leaves)'
    ((kind,),) = connection.execute(f"SELECT type FROM pragma_table_info('{table}') WHERE name = '{column}'").fetchall()
    return {"INTEGER": "900 + random() % 100", "TEXT": "hex(randomblob(16))", "BLOB": "randomblob(32)"}[kind]


def test_the_database_itself_refuses_duplicates(connection: sqlite3.Connection) -> None:
    """Without the triggers, what remains are the constraints: asked one by one."""
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    asked = 0
    for table in TABLES:
        columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
        for unique in _uniques(connection, table):
            fresh = ", ".join(f'"{name}"' if name in unique else _fresh(connection, table, name) for name in columns)
            filled = " AND ".join(f'"{name}" IS NOT NULL' for name in unique)
            with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE|PRIMARY KEY|CHECK"):
                connection.execute(f"INSERT INTO {table} SELECT {fresh} FROM {table} WHERE {filled} LIMIT 1")
            asked += 1
    assert asked >= 20


@pytest.mark.parametrize(
    "insert",
    [
        "leaves VALUES (31, x'', zeroblob(32), x'00', 's', 't')",
        "leaves VALUES (31, zeroblob(65536), zeroblob(32), x'00', 's', 't')",
        "leaves VALUES (31, x'00', zeroblob(31), x'00', 's', 't')",
        "leaves VALUES (31, x'00', zeroblob(32), x'00', '', 't')",
        "leaves VALUES (31, NULL, zeroblob(32), x'00', 's', 't')",
        "leaves VALUES ('x', x'00', zeroblob(32), x'00', 's', 't')",
        "checkpoint_intents VALUES (5, 5)",
        "checkpoint_intents VALUES (5, -1)",
        "jobs VALUES ('short', printf('%024d', 1), 'order-9', 0, 1)",
        "jobs VALUES (printf('%032d', 1), 'short', 'order-9', 0, 1)",
        "jobs VALUES (printf('%032d', 1), printf('%024d', 1), 'order-9', 2, 1)",
        "records SELECT job_id, 'other', 'st', 1 FROM jobs LIMIT 1",
        "outbox VALUES (1, 2, x'00')",
    ],
)
def test_checks_of_the_database(connection: sqlite3.Connection, insert: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"CHECK|NOT NULL|cannot store|without a gap|datatype mismatch"):
        connection.execute(f"INSERT INTO {insert}")


def test_foreign_keys_hold(filled: Path) -> None:
    assert kit.rows(filled, "PRAGMA foreign_key_check") == []
    with closing(sqlite3.connect(filled)) as opened:
        opened.execute("PRAGMA foreign_keys = ON")
        for insert in (
            "events VALUES (9999, '', '', '', 0, 'k')",
            "records SELECT job_id, 'intent', 'st', 9999 FROM jobs WHERE adopted = 1",
            "deliveries VALUES (9999, 1)",
            "checkpoints VALUES (9999, 'x')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
                opened.execute(f"INSERT INTO {insert}")


def test_every_kind_of_record_is_known_to_the_database(filled: Path) -> None:
    ((sql,),) = kit.rows(filled, "SELECT sql FROM sqlite_schema WHERE name = 'records'")
    assert set(re.findall(r"'([a-z-]+)'", sql)) == {kind.value for kind in RecordKind}


def test_a_second_start_changes_nothing_and_loads_no_migrations(filled: Path) -> None:
    before = filled.read_bytes()
    script = (
        "import sys; from pathlib import Path; from station.jobs.schema import open_database; "
        f"open_database(Path({str(filled)!r})).dispose(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert filled.read_bytes() == before


def test_a_newer_schema_is_refused(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    path.write_bytes(filled.read_bytes())
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for read_only in (True, False):
        with pytest.raises(StoreError, match="install the newer version"):
            open_database(path, read_only=read_only)


def test_an_older_schema_is_brought_up_and_keeps_its_rows(tmp_path: Path) -> None:
    from alembic import command

    path = tmp_path / "older.db"
    engine = open_engine(path, application_id=APPLICATION_ID, create=True)
    config = Config()
    config.set_main_option("script_location", "migrations:station")
    with writing(engine) as made:
        config.attributes["connection"] = made
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("INSERT INTO leaves VALUES (0, x'00', zeroblob(32), x'00', 's', 't')")
    with pytest.raises(StoreError, match="start the station once"):
        open_database(path, read_only=True)
    assert kit.tables(path) == ["checkpoint_intents", "checkpoints", "leaves"]
    open_database(path).dispose()
    assert kit.tables(path) == TABLES
    assert kit.rows(path, "SELECT subject FROM leaves") == [("s",)]
    open_database(path, read_only=True).dispose()


def test_records_that_are_made_anew_keep_their_rows(tmp_path: Path) -> None:
    """From version 3: a job with its intent and pin, one in the outbox and one delivered."""
    from alembic import command

    path = tmp_path / "three.db"
    engine = open_engine(path, application_id=APPLICATION_ID, create=True)
    config = Config()
    config.set_main_option("script_location", "migrations:station")
    with writing(engine) as made:
        config.attributes["connection"] = made
        command.upgrade(config, "0003")
    engine.dispose()
    job, device = "a" * 32, "b" * 24
    with closing(sqlite3.connect(path)) as opened, opened:
        for index in range(5):
            opened.execute("INSERT INTO leaves VALUES (?, x'00', zeroblob(32), x'00', 's', ?)", (index, f"t{index}"))
        opened.execute("INSERT INTO jobs VALUES (?, ?, 'order-1', 0, 0)", (job, device))
        for index, kind in ((1, "intent"), (2, "pin"), (3, "completion")):
            opened.execute("INSERT INTO records VALUES (?, ?, 'st-01', ?)", (job, kind, index))
        opened.execute("INSERT INTO outbox VALUES (2, ?, 'pin'), (3, ?, 'completion')", (job, job))
        opened.execute("INSERT INTO deliveries VALUES (2, 4)")
        with pytest.raises(sqlite3.IntegrityError, match="kind_known"):
            opened.execute("INSERT INTO records VALUES (?, 'handshake-report', 'st-01', 4)", (job,))
    before = {table: kit.rows(path, f"SELECT * FROM {table}") for table in ("records", "outbox", "deliveries")}
    open_database(path).dispose()
    assert {table: kit.rows(path, f"SELECT * FROM {table}") for table in before} == before
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("PRAGMA foreign_keys = ON")
        assert opened.execute("PRAGMA foreign_key_check").fetchall() == []
        opened.execute("INSERT INTO records VALUES (?, 'handshake-report', 'st-01', 4)", (job,))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            opened.execute("DELETE FROM outbox")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            opened.execute("INSERT INTO outbox VALUES (1, ?, 'completion-receipt')", (job,))


@pytest.mark.timeout(60)
def test_a_migration_that_stops_anywhere_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Stopped after each statement in turn: nothing of it is there, and the next start makes all of it."""
    for number in range(1, 1000):
        path = tmp_path / f"stopped-{number}.db"
        engine = open_engine(path, application_id=APPLICATION_ID, create=True)
        whole = _migrates(engine, stop_after=number)
        engine.dispose()
        assert (kit.rows(path, "SELECT count(*) FROM sqlite_schema") == [(0,)]) is not whole
        assert kit.rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION if whole else 0,)]
        if whole:
            break
        if number % 10 == 0:
            open_database(path, create=True).dispose()
            assert kit.tables(path) == TABLES
    assert number > 40


def _migrates(engine: Engine, stop_after: int) -> bool:
    left = stop_after

    def stop(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    event.listen(engine, "after_cursor_execute", stop)
    try:
        with writing(engine) as connection:
            migrate(connection)
    except KeyboardInterrupt:
        return False
    return True


@pytest.mark.parametrize("database", ["station", "registry"])
def test_a_new_migration_follows_the_last_one_and_refuses_until_written(tmp_path: Path, database: str) -> None:
    from migrations.new import begin

    path = begin(database, "What it does!", tmp_path)
    made: dict[str, object] = {}
    exec(compile(path.read_text(), path, "exec"), made)
    assert path.name == f"{made['revision']}_what_it_does.py"
    assert int(str(made["revision"])) == int(str(made["down_revision"])) + 1
    for step in ("upgrade", "downgrade"):
        with pytest.raises(NotImplementedError):
            made[step]()  # type: ignore[operator]
