"""Triggers that keep rows as they are, on SQLite and on PostgreSQL: for every migration of the registry.

As frozen as the migrations that call it: what a released one made must come out the same for ever, so a new rule is a
new function. Never looks at a row itself.

A trigger holds for everybody, the tables' owner included, until somebody drops it; whom the registry serves as may not
(docs/deployment.md). PostgreSQL's say ALWAYS, so that no session turns them off by its replication role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection

Keys = Iterable[Sequence[str]]


class Op(Protocol):
    """Of `alembic.op`, what is needed here."""

    def execute(self, sqltext: str, /) -> None:
        """Run one statement."""

    def get_bind(self) -> Connection:
        """The connection that is being migrated."""


def append_only(op: Op, table: str, unique: Keys) -> None:
    """Refuse UPDATE, DELETE and TRUNCATE, and INSERT over a row that has one of these unique keys."""
    if _on_sqlite(op):
        for verb in ("UPDATE", "DELETE"):
            _sqlite(op, f"{table}_no_{verb.lower()}", f"BEFORE {verb} ON {table}", f"{table} is append-only")
        _no_replace(op, table, unique, f"{table} is append-only: this row is there already")
        return
    text = f"{table} is append-only"
    _postgres(op, table, {"UPDATE": text, "DELETE": text, "TRUNCATE": text})


def rising(op: Op, table: str, *, key: Sequence[str], counts: Sequence[str], fixed: Sequence[str] = ()) -> None:
    """Rows stay, keep their key and what is fixed, and their counts never fall; anything else in them may change."""
    rules = [f"NEW.{each} <> OLD.{each}" for each in (*key, *fixed)]
    changed = " OR ".join([*rules, *(f"NEW.{each} < OLD.{each}" for each in counts)])
    if _on_sqlite(op):
        _sqlite(op, f"{table}_no_delete", f"BEFORE DELETE ON {table}", f"{table} stay")
        _sqlite(op, f"{table}_never_fall", f"BEFORE UPDATE ON {table} WHEN {changed}", "counts never fall")
        _no_replace(op, table, [key], f"{table} stay: this row is there already")
        return
    _postgres(
        op, table, {"UPDATE": "counts never fall", "DELETE": f"{table} stay", "TRUNCATE": f"{table} stay"}, changed
    )


def _on_sqlite(op: Op) -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _sqlite(op: Op, name: str, when: str, text: str) -> None:
    op.execute(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{text}'); END")


def _no_replace(op: Op, table: str, unique: Keys, text: str) -> None:
    # INSERT OR REPLACE deletes what is in its way, and fires the DELETE trigger only where a connection asked for that
    # (recursive_triggers). A rowid would be one more way to name a row that is there: the tables have none.
    # One EXISTS a constraint: an OR inside one makes SQLite search by what the terms share, and read all those rows.
    wheres = [" AND ".join(f"{each} = NEW.{each}" for each in columns) for columns in unique]
    taken = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {each})" for each in wheres)
    _sqlite(op, f"{table}_no_replace", f"BEFORE INSERT ON {table} WHEN {taken}", text)


def _postgres(op: Op, table: str, texts: Mapping[str, str], updates: str = "true") -> None:
    # One function for all tables, its sentence an argument. The code is that of a constraint, so that a client meets
    # the same class of error as with SQLite's RAISE.
    function = (
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    statements = [function]
    for verb, text in texts.items():
        name, each = f"{table}_no_{verb.lower()}", "STATEMENT" if verb == "TRUNCATE" else "ROW"
        before = f"BEFORE {verb} ON {table} FOR EACH {each}" + (f" WHEN ({updates})" if verb == "UPDATE" else "")
        statements.append(f"CREATE TRIGGER {name} {before} EXECUTE FUNCTION refuse_change('{text}')")
        statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    op.execute("; ".join(statements))
