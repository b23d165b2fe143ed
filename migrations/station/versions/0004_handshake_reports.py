"""Records may be handshake reports: `records` is made anew with one kind more, and with it what names its rows.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `station.jobs.tables`
cannot change what this revision made. SQLite changes no CHECK of a table that is there: each is made under another
name, filled from the old one in the same transaction, and takes its name. What names a row goes before the row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KINDS = (
    "'intent', 'pin', 'pin-receipt', 'pin-refused', 'handshake-report', "
    "'completion-intent', 'completion', 'completion-receipt', 'completion-refused'"
)
_UNIQUE = {
    "records": ["job_id = NEW.job_id AND kind = NEW.kind", "leaf_index = NEW.leaf_index"],
    "outbox": ["leaf_index = NEW.leaf_index", "job_id = NEW.job_id AND kind = NEW.kind"],
    "deliveries": ["outbox_leaf = NEW.outbox_leaf", "answer_leaf = NEW.answer_leaf"],
}


def upgrade() -> None:
    _records()
    _outbox()
    _deliveries()
    for table in _UNIQUE:
        op.execute(f"INSERT INTO {table}_new SELECT * FROM {table}")
    for table in reversed(_UNIQUE):
        op.drop_table(table)  # a drop fires no trigger
    for table, unique in _UNIQUE.items():
        op.rename_table(f"{table}_new", table)  # what names it follows
        _make_append_only(table, unique)
    op.execute("PRAGMA user_version = 4")


def downgrade() -> None:
    raise NotImplementedError("what was recorded stays recorded: restore a backup into another place instead")


def _records() -> None:
    op.create_table(
        "records_new",
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


def _outbox() -> None:
    op.create_table(
        "outbox_new",
        sa.Column("leaf_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_outbox"),
        sa.UniqueConstraint("job_id", "kind", name="uq_outbox_job_id_kind"),
        sa.ForeignKeyConstraint(
            ["job_id", "kind"], ["records_new.job_id", "records_new.kind"], name="fk_outbox_job_id_kind"
        ),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaves.index"], name="fk_outbox_leaf_index"),
        sqlite_strict=True,
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries_new",
        sa.Column("outbox_leaf", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("answer_leaf", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("outbox_leaf", name="pk_deliveries"),
        sa.UniqueConstraint("answer_leaf", name="uq_deliveries_answer_leaf"),
        sa.ForeignKeyConstraint(["outbox_leaf"], ["outbox_new.leaf_index"], name="fk_deliveries_outbox_leaf"),
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
