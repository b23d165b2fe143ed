"""Proposals are found by the key that they propose: the device service asks for each key that it does not know.

Frozen once released: the table is spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_proposals_fingerprint", "proposals", ["fingerprint"])


def downgrade() -> None:
    raise NotImplementedError("a registry goes on and never back: restore a backup into another place instead")
