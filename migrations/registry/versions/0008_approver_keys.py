"""Which key a user approves acts with: its one-time code goes with an act that one approver is enough for.

Frozen once released: spelt out here and never imported. The triggers of `user_states` stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_states", sa.Column("approver", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("restore a backup into another place instead")
