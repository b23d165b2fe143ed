"""Words of the authority to open a device and for a new anchor: on record, so that an act is used up by them.

Frozen once released: the table is spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rekey_words",
        sa.Column("act_sha256", sa.Text(), nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("act", sa.LargeBinary(), nullable=False),
        sa.Column("word", sa.LargeBinary(), nullable=False),
        sa.Column("said_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("act_sha256", "number", name="pk_rekey_words"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_rekey_words_device_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_rekey_words_device_id", "rekey_words", ["device_id"])
    append_only(op, "rekey_words", (("act_sha256", "number"),))


def downgrade() -> None:
    raise NotImplementedError("what was said to a device stays said: restore a backup into another place instead")
