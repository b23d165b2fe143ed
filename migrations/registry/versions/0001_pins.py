"""Pins, orders, completions, receipts and the r of ECDSA signatures; append-only by trigger.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UNIQUE = {
    "orders": (("order_sha256",),),
    "pins": (("device_id",), ("station", "job"), ("fingerprint",), ("modulus",), ("statement_sha256",)),
    "completions": (("device_id",), ("pin_sha256",), ("statement_sha256",)),
    "receipts": (("statement_sha256",),),
    "signature_r": (("r",),),
}


def upgrade() -> None:
    _orders_and_pins()
    _completions()
    _receipts_and_nonces()
    for table, unique in _UNIQUE.items():
        append_only(op, table, unique)


def _orders_and_pins() -> None:
    op.create_table(
        "orders",
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("order_sha256", name="pk_orders"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pins",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("modulus", sa.LargeBinary(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("statement_sha256", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_pins"),
        sa.UniqueConstraint("station", "job", name="uq_pins_station_job"),
        sa.UniqueConstraint("fingerprint", name="uq_pins_fingerprint"),
        sa.UniqueConstraint("modulus", name="uq_pins_modulus"),
        sa.UniqueConstraint("statement_sha256", name="uq_pins_statement_sha256"),
        sa.ForeignKeyConstraint(["order_sha256"], ["orders.order_sha256"], name="fk_pins_order_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pins_order_sha256", "pins", ["order_sha256"])


def _completions() -> None:
    op.create_table(
        "completions",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("pin_sha256", sa.Text(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("statement_sha256", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_completions"),
        sa.UniqueConstraint("pin_sha256", name="uq_completions_pin_sha256"),
        sa.UniqueConstraint("statement_sha256", name="uq_completions_statement_sha256"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_completions_device_id"),
        sa.ForeignKeyConstraint(["pin_sha256"], ["pins.statement_sha256"], name="fk_completions_pin_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _receipts_and_nonces() -> None:
    op.create_table(
        "receipts",
        sa.Column("statement_sha256", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("statement_sha256", name="pk_receipts"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signature_r",
        sa.Column("r", sa.LargeBinary(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("r", name="pk_signature_r"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_signature_r_device_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_signature_r_device_id", "signature_r", ["device_id"])


def downgrade() -> None:
    raise NotImplementedError("what is pinned stays pinned: restore a backup into another place instead")
