"""Access tokens of stations, what is good once, secrets for nonces: rows that go when their time is over.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made. No trigger: nothing here is a record.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("client_sha256", sa.Text(), nullable=False),
        sa.Column("thumbprint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("expires_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_access_tokens"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_access_tokens_expires_at", "access_tokens", ["expires_at"])
    op.create_table(
        "used_once",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_used_once"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_used_once_expires_at", "used_once", ["expires_at"])
    op.create_table(
        "nonce_secrets",
        sa.Column("day", _NUMBER, nullable=False, autoincrement=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_nonce_secrets"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup into another place instead")
