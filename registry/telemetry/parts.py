"""The questions of `registry.telemetry.health`: what must be well for a pin to be taken. Changes no row."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from registry.database import Database
from registry.failures import STORE_FAILED
from registry.schema import head
from registry.signing import Signing
from registry.telemetry.health import Question
from trust.codes import Code

_log = logging.getLogger(__name__)
_DURABLE_AND_EMPTY = {
    # Both make a commit as durable as a pin's and leave no row: a standby that is gone is noticed, and a full disk.
    "sqlite": "PRAGMA user_version = 0",
    "postgresql": "SELECT pg_logical_emit_message(true, 'keystation-readyz', '')",
}


def parts(database: Database, signing: Signing) -> Mapping[str, tuple[Question, Code]]:
    """Database and signer, each with the code of its trouble."""
    wanted = head()
    return {
        "database": (lambda: writable(database, wanted), Code.STORE_FAILED),
        "signer": (lambda: not signing.trouble(), Code.TOKEN_UNAVAILABLE),
    }


def writable(database: Database, revision: str | None) -> bool:
    """Whether a write is committed, in a database of this revision. Waits as long as the database."""
    try:
        with database.write() as connection:
            connection.execute(text(_DURABLE_AND_EMPTY[database.engine.dialect.name]))
            return MigrationContext.configure(connection).get_current_revision() == revision
    except STORE_FAILED as error:
        _log.warning("the database does not take a write", exc_info=error)
        return False
