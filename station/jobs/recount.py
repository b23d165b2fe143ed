"""Comparing the state tables with what the leaves imply, in one pass beside the leaves.

Each state row names the leaf that implies it; each table is read in that order and compared leaf by leaf: memory does
not grow with the log. Also the schema: triggers and constraints as the migrations make them, and their revision.
Never changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, create_engine, select
from sqlalchemy import Row as SqlRow

from ledger.engine import Connection
from ledger.tables import Base
from station.jobs.projection import Row, Value
from station.jobs.schema import SCHEMA_VERSION, migrate
from station.jobs.tables import STATE, DeliveryRow

_BATCH = 500
_LEAF_COLUMN: dict[type[Base], str] = {
    table: "answer_leaf" if table is DeliveryRow else "leaf_index" for table in STATE
}
_REVISION_TABLE = ("table", "alembic_version")
_SCHEMA = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type DESC, name"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A state row that is not what the leaves imply."""

    table: str
    row: str
    text: str


class Recount:
    """Walks all state tables in step with the leaves: `at` for each leaf in order, then `end` once."""

    def __init__(self, connection: Connection) -> None:
        self._followers = [_Follower(connection, table, column) for table, column in _LEAF_COLUMN.items()]

    def at(self, leaf: int, implied: Iterable[Row]) -> Iterator[Mismatch]:
        """Compare what is stored for this leaf, and for any number skipped before it, with what it implies."""
        rows = list(implied)
        for follower in self._followers:
            yield from follower.compare(leaf, [row.values for row in rows if row.table is follower.table])

    def end(self) -> Iterator[Mismatch]:
        """The rows that name no leaf of the log."""
        for follower in self._followers:
            yield from follower.rest()


class _Follower:
    def __init__(self, connection: Connection, table: type[Base], leaf_column: str) -> None:
        self.table = table
        self._name = table.__tablename__
        self._leaf_column = leaf_column
        columns: ColumnElement[int] = table.__table__.c[leaf_column]
        query = select(table.__table__).order_by(columns).execution_options(yield_per=_BATCH)
        self._rows: Iterator[SqlRow[tuple[Value, ...]]] = iter(connection.execute(query))
        self._next = self._read()

    def compare(self, leaf: int, implied: list[dict[str, Value]]) -> Iterator[Mismatch]:
        stored: list[dict[str, Value]] = []
        while self._next is not None and self._leaf(self._next) <= leaf:
            if self._leaf(self._next) < leaf:
                yield self._unimplied(self._next)
            else:
                stored.append(self._next)
            self._next = self._read()
        yield from self._differences(leaf, stored, implied)

    def rest(self) -> Iterator[Mismatch]:
        while self._next is not None:
            yield self._unimplied(self._next)
            self._next = self._read()

    def _differences(
        self, leaf: int, stored: list[dict[str, Value]], implied: list[dict[str, Value]]
    ) -> Iterator[Mismatch]:
        found = {self._key(row): row for row in stored}
        for row in implied:
            there = found.pop(self._key(row), None)
            if there is None:
                yield Mismatch(self._name, self._key(row), f"missing: leaf {leaf} implies it")
                continue
            for column, value in row.items():
                if there[column] != value:
                    text = f"{column} is {_shown(there[column])}, leaf {leaf} says {_shown(value)}"
                    yield Mismatch(self._name, self._key(row), text)
        for row in found.values():
            yield self._unimplied(row)

    def _unimplied(self, row: Mapping[str, Value]) -> Mismatch:
        return Mismatch(self._name, self._key(row), f"no leaf implies it (it names leaf {self._leaf(row)})")

    def _key(self, row: Mapping[str, Value]) -> str:
        return " ".join(_shown(row[column.name]) for column in self.table.__table__.primary_key)

    def _leaf(self, row: Mapping[str, Value]) -> int:
        leaf = row[self._leaf_column]
        return leaf if isinstance(leaf, int) else -1

    def _read(self) -> dict[str, Value] | None:
        row = next(self._rows, None)
        return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def schema_mismatches(connection: Connection) -> Iterator[Mismatch]:
    """Tables, indexes and triggers that are not exactly as the migrations make them."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version != SCHEMA_VERSION:
        yield Mismatch("schema", "user_version", f"is {version}, expected {SCHEMA_VERSION}")
    found, wanted = _schema(connection), dict(_fresh()[0])
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            yield Mismatch("schema", " ".join(name), "missing: somebody dropped it")
        elif name not in wanted:
            yield Mismatch("schema", " ".join(name), "is not part of this schema")
        elif found[name] != wanted[name]:
            yield Mismatch("schema", " ".join(name), "is not as the migrations make it")
    if _REVISION_TABLE in found and (revision := _revision(connection)) != _fresh()[1]:
        text = f"is {', '.join(map(str, revision)) or 'empty'}, expected {', '.join(_fresh()[1])}"
        yield Mismatch("schema", _REVISION_TABLE[1], text)


@cache
def _fresh() -> tuple[tuple[tuple[tuple[str, str], str], ...], tuple[str, ...]]:
    """Schema and revision that this version's migrations make; the same for the life of the process."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate(connection)
        made = tuple(_schema(connection).items()), _revision(connection)
    engine.dispose()
    return made


def _schema(connection: Connection) -> dict[tuple[str, str], str]:
    return {(kind, name): f"{table} {sql}" for kind, name, table, sql in connection.exec_driver_sql(_SCHEMA)}


def _revision(connection: Connection) -> tuple[str, ...]:
    """Which migrations have run; the next version's begin after these."""
    return tuple(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())


def _shown(value: Value) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
