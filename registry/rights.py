"""What the role that the registry serves as may do on a database server: read, add, and count. Granted by the owner.

So a registry that is taken over can neither change nor remove a row, nor drop the trigger that would refuse it: the
triggers hold for the owner, and the rights for the registry. Never grants more than a table's kind asks for.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table, inspect, text

from registry.database import Database
from registry.tables import APPEND_ONLY, SWEPT, metadata

_VERSION = "alembic_version"


def grant(database: Database, role: str) -> None:
    """Give the role exactly what serving needs, and take away whatever else it had on our tables."""
    if database.engine.dialect.name == "sqlite":
        return
    with database.write() as connection:
        quoted = connection.dialect.identifier_preparer.quote(role)
        if quoted == connection.dialect.identifier_preparer.quote(database.engine.url.username or ""):
            return  # one role for all: nothing to take away from an owner that it could not give itself again
        for table in metadata.sorted_tables:
            _execute(connection, f"REVOKE ALL ON {table.name} FROM {quoted}, PUBLIC")
            _execute(connection, f"GRANT {', '.join(needed(table))} ON {table.name} TO {quoted}")
        _execute(connection, f"REVOKE ALL ON {_VERSION} FROM {quoted}, PUBLIC")
        _execute(connection, f"GRANT SELECT ON {_VERSION} TO {quoted}")


def needed(table: Table) -> tuple[str, ...]:
    """The rights that serving needs on a table."""
    if table in APPEND_ONLY:
        return ("SELECT", "INSERT")
    return ("SELECT", "INSERT", "UPDATE", "DELETE") if table in SWEPT else ("SELECT", "INSERT", "UPDATE")


def beyond(engine: Engine) -> list[str]:
    """Tables of records in which the role of this engine could change or remove rows; none on SQLite."""
    if engine.dialect.name == "sqlite":
        return []
    question = text("SELECT has_table_privilege(:table, 'UPDATE') OR has_table_privilege(:table, 'DELETE')")
    with engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        return [
            each.name
            for each in APPEND_ONLY
            if each.name in there and connection.execute(question, {"table": each.name}).scalar_one()
        ]


def warning(engine: Engine) -> str:
    """What to say at the start of a registry whose role may do too much; empty if it may not."""
    tables = beyond(engine)
    if not tables:
        return ""
    return (
        f"warning: the database role {engine.url.username} may change or remove {', '.join(tables)}: make another "
        "role, name it in registry.toml and run station-registry migrate --owner, as the role that owns the tables"
    )


def _execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))
