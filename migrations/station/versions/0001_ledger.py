"""The ledger: leaves, checkpoints and intents for checkpoints; append-only by trigger.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `ledger.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPLICATION_ID = 0x4B535401
_UNIQUE = {
    "leaves": ['"index" = NEW."index"', "subject = NEW.subject AND step = NEW.step"],
    "checkpoint_intents": ["size = NEW.size"],
    "checkpoints": ["size = NEW.size"],
}


def upgrade() -> None:
    op.create_table(
        "leaves",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("index", name="pk_leaves"),
        sa.UniqueConstraint("subject", "step", name="uq_leaves_subject_step"),
        sa.CheckConstraint('"index" >= 0', name="ck_leaves_index_from_0"),
        sa.CheckConstraint("length(entry) BETWEEN 1 AND 65535", name="ck_leaves_entry_fits_a_tile"),
        sa.CheckConstraint("length(leaf_hash) = 32", name="ck_leaves_leaf_hash_is_sha256"),
        sa.CheckConstraint("length(subject) > 0 AND length(step) > 0", name="ck_leaves_addressed"),
        sqlite_strict=True,
    )
    op.create_table(
        "checkpoint_intents",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("old_size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_checkpoint_intents"),
        sa.CheckConstraint("0 <= old_size AND old_size < size", name="ck_checkpoint_intents_grows"),
        sqlite_strict=True,
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["size"], ["checkpoint_intents.size"], name="fk_checkpoints_size"),
        sqlite_strict=True,
    )
    for table, unique in _UNIQUE.items():
        _make_append_only(table, unique)
    op.execute(
        "CREATE TRIGGER leaves_in_order BEFORE INSERT ON leaves "
        'WHEN NEW."index" IS NOT (SELECT coalesce(max("index") + 1, 0) FROM leaves) '
        "BEGIN SELECT RAISE(ABORT, 'leaves are numbered without a gap'); END"
    )
    op.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    op.execute("PRAGMA user_version = 1")


def downgrade() -> None:
    raise NotImplementedError("what was recorded stays recorded: restore a backup into another place instead")


def _make_append_only(table: str, unique: list[str]) -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE deletes what is in its way, and by default fires no DELETE trigger for it
    taken = " OR ".join(f"({each})" for each in unique)
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: this row is there already'); END"
    )
