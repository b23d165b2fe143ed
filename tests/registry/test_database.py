"""A read transaction sees one state of the database: on SQLite by itself, elsewhere by its isolation level."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from registry import database as module
from registry.database import Database


class Other:
    """Stands for the engine of another database: SQLite under another name, that says what it was asked for."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://")
        self.dialect = SimpleNamespace(name="postgresql")
        self.levels: list[str | None] = []
        self.engine.dialect.set_isolation_level = lambda _, level: self.levels.append(level)  # type: ignore[method-assign,assignment]
        self.engine.dialect.get_isolation_level_values = lambda _: ["REPEATABLE READ", "SERIALIZABLE"]  # type: ignore[method-assign]

    def connect(self) -> Any:
        return self.engine.connect()

    def begin(self) -> Any:
        return self.engine.begin()


def test_a_read_elsewhere_than_on_sqlite_has_one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other()
    monkeypatch.setattr(module, "create_engine", lambda *_, **__: other)
    opened = Database.open("postgresql://registry")
    with opened.read() as connection:
        assert other.levels == ["REPEATABLE READ"]
        connection.exec_driver_sql("SELECT 1")
    assert other.levels.pop() != "REPEATABLE READ", "the next user of the connection gets what it had"
    other.levels.clear()
    with opened.write() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert other.levels == []


def test_on_sqlite_a_read_asks_for_no_level_and_has_one_view(database: Database, rows: Callable[[str], int]) -> None:
    set_levels: list[object] = []
    event.listen(database.engine, "set_connection_execution_options", lambda _, options: set_levels.append(options))
    assert rows("pins") == 0
    assert [{**each} for each in set_levels] == [{"reads_only": True}]  # type: ignore[call-overload]
