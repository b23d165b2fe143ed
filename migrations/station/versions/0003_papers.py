"""Papers: statements of the signer and of others in the log that are about no job; append-only.

Frozen once released: the table is spelt out here and never imported, so that a later change of `station.jobs.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "papers",
        sa.Column("leaf_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_papers"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_papers_leaf_index"),
        sqlite_strict=True,
    )
    op.create_index("ix_papers_order_id", "papers", ["order_id"])
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER papers_no_{verb.lower()} BEFORE {verb} ON papers "
            "BEGIN SELECT RAISE(ABORT, 'papers is append-only'); END"
        )
    op.execute(
        "CREATE TRIGGER papers_no_replace BEFORE INSERT ON papers "
        "WHEN EXISTS (SELECT 1 FROM papers WHERE leaf_index = NEW.leaf_index) "
        "BEGIN SELECT RAISE(ABORT, 'papers is append-only: this row is there already'); END"
    )
    op.execute("PRAGMA user_version = 3")


def downgrade() -> None:
    raise NotImplementedError("what was recorded stays recorded: restore a backup into another place instead")
