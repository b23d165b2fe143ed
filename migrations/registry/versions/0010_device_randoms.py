"""Which random values devices have used in handshakes, as hashes, so that a repeat is refused.

Frozen once released: the table is spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device_randoms",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_device_randoms"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_randoms_expires_at", "device_randoms", ["expires_at"])


def downgrade() -> None:
    raise NotImplementedError("without them a repeat would be taken: restore a backup into another place instead")
