"""Which proposed keys a device has proved that it holds, in its one handshake with them.

Frozen once released: the table is spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proposal_proofs",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("transcript_sha256", sa.Text(), nullable=False),
        sa.Column("proved_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "fingerprint", name="pk_proposal_proofs"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_proposal_proofs_device_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    append_only(op, "proposal_proofs", (("device_id", "fingerprint"),))


def downgrade() -> None:
    raise NotImplementedError("what was proved stays proved: restore a backup into another place instead")
