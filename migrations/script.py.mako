"""${message}.

Rules of this directory, checked by tests/migrations:
- Frozen once released. Spell everything out here; import no table of ours, so that a later change cannot reach back.
- Add only. No row is changed or removed by a migration: the log's leaves and what they imply stay as they were written.
- Every table is STRICT and append-only, or its counts never fall: create its triggers here, in the same transaction.
- Station: the last statement sets `PRAGMA user_version` to the revision's number; `SCHEMA_VERSION` in the code follows.
- Killed at any statement, the database must be as before: no commit inside, nothing outside the transaction.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "raise NotImplementedError"}


def downgrade() -> None:
    raise NotImplementedError("what was recorded stays recorded: restore a backup into another place instead")
