"""Jobs and what their leaves imply: records, keys, signature r, events, outbox, deliveries, orders; append-only.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `station.jobs.tables`
cannot change what this revision made. A table whose key is not its rowid has none: a row could be replaced by it,
past a trigger that compares the keys.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KINDS = (
    "'intent', 'pin', 'pin-receipt', 'pin-refused', "
    "'completion-intent', 'completion', 'completion-receipt', 'completion-refused'"
)
_UNIQUE = {
    "orders": ["order_id = NEW.order_id", "leaf_index = NEW.leaf_index"],
    "jobs": [
        "job_id = NEW.job_id",
        "device_id = NEW.device_id AND order_id = NEW.order_id",
        "leaf_index = NEW.leaf_index",
    ],
    "records": ["job_id = NEW.job_id AND kind = NEW.kind", "leaf_index = NEW.leaf_index"],
    "keys": [
        "leaf_index = NEW.leaf_index",
        "fingerprint = NEW.fingerprint",
        "modulus = NEW.modulus",
        "job_id = NEW.job_id",
    ],
    "signature_r": ["r = NEW.r"],
    "events": ["leaf_index = NEW.leaf_index"],
    "outbox": ["leaf_index = NEW.leaf_index", "job_id = NEW.job_id AND kind = NEW.kind"],
    "deliveries": ["outbox_leaf = NEW.outbox_leaf", "answer_leaf = NEW.answer_leaf"],
}


def upgrade() -> None:
    _orders_and_jobs()
    _records()
    _keys()
    _outbox()
    for table, unique in _UNIQUE.items():
        _make_append_only(table, unique)
    op.execute("PRAGMA user_version = 2")


def downgrade() -> None:
    raise NotImplementedError("what was recorded stays recorded: restore a backup into another place instead")


def _orders_and_jobs() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name="pk_orders"),
        sa.UniqueConstraint("leaf_index", name="uq_orders_leaf_index"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_orders_leaf_index"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("adopted", sa.Integer(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
        sa.UniqueConstraint("device_id", "order_id", name="uq_jobs_device_id_order_id"),
        sa.UniqueConstraint("leaf_index", name="uq_jobs_leaf_index"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_jobs_leaf_index"),
        sa.CheckConstraint("adopted IN (0, 1)", name="ck_jobs_adopted_is_boolean"),
        sa.CheckConstraint("length(job_id) = 32", name="ck_jobs_job_id_is_hex"),
        sa.CheckConstraint("length(device_id) = 24", name="ck_jobs_device_id_is_hex"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_jobs_order_id", "jobs", ["order_id"])
    op.create_table(
        "events",
        sa.Column("leaf_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_events"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_events_leaf_index"),
        sqlite_strict=True,
    )
    op.create_index("ix_events_job_id_attempt", "events", ["job_id", "attempt"])
    op.create_index("ix_events_order_id_kind", "events", ["order_id", "kind"])


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "kind", name="pk_records"),
        sa.UniqueConstraint("leaf_index", name="uq_records_leaf_index"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_records_job_id"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_records_leaf_index"),
        sa.CheckConstraint(f"kind IN ({_KINDS})", name="ck_records_kind_known"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("leaf_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("modulus", sa.LargeBinary(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_keys"),
        sa.UniqueConstraint("fingerprint", name="uq_keys_fingerprint"),
        sa.UniqueConstraint("modulus", name="uq_keys_modulus"),
        sa.UniqueConstraint("job_id", name="uq_keys_job_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_keys_job_id"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_keys_leaf_index"),
        sqlite_strict=True,
    )
    op.create_table(
        "signature_r",
        sa.Column("r", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("r", name="pk_signature_r"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_signature_r_job_id"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_signature_r_leaf_index"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_signature_r_leaf_index", "signature_r", ["leaf_index"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("leaf_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_outbox"),
        sa.UniqueConstraint("job_id", "kind", name="uq_outbox_job_id_kind"),
        sa.ForeignKeyConstraint(["job_id", "kind"], ["records.job_id", "records.kind"], name="fk_outbox_job_id_kind"),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_outbox_leaf_index"),
        sqlite_strict=True,
    )
    op.create_table(
        "deliveries",
        sa.Column("outbox_leaf", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("answer_leaf", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("outbox_leaf", name="pk_deliveries"),
        sa.UniqueConstraint("answer_leaf", name="uq_deliveries_answer_leaf"),
        sa.ForeignKeyConstraint(["outbox_leaf"], ["outbox.leaf_index"], name="fk_deliveries_outbox_leaf"),
        sa.ForeignKeyConstraint(["answer_leaf"], ["leaves.index"], name="fk_deliveries_answer_leaf"),
        sqlite_strict=True,
    )


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
