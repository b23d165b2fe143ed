"""Orders counted: their later approvals, acts that raise a limit, and what each station has made of its allotment.

What was pinned before is counted here, from the orders as they are stored. Frozen once released: the tables are spelt
out here and never imported, so that a later change of `registry.tables` cannot change what this revision made.
"""

import base64
import json

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only, rising

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _make_papers()
    _make_counts()
    _count_what_is_there()
    _guard()


def downgrade() -> None:
    raise NotImplementedError("what was counted stays counted: restore a backup into another place instead")


def _make_papers() -> None:
    op.create_table(
        "order_approvals",
        sa.Column("envelope_sha256", sa.Text(), nullable=False),
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("envelope_sha256", name="pk_order_approvals"),
        sa.ForeignKeyConstraint(["order_sha256"], ["orders.order_sha256"], name="fk_order_approvals_order_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_order_approvals_order_sha256", "order_approvals", ["order_sha256"])
    op.create_table(
        "order_raises",
        sa.Column("act_sha256", sa.Text(), nullable=False),
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("units", _NUMBER, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("act_sha256", name="pk_order_raises"),
        sa.ForeignKeyConstraint(["order_sha256"], ["orders.order_sha256"], name="fk_order_raises_order_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_order_raises_order_sha256", "order_raises", ["order_sha256"])


def _make_counts() -> None:
    op.create_table(
        "order_counts",
        sa.Column("order_sha256", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("pins", _NUMBER, nullable=False),
        sa.Column("pin_limit", _NUMBER, nullable=False),
        sa.Column("completions", _NUMBER, nullable=False),
        sa.Column("completion_limit", _NUMBER, nullable=False),
        sa.Column("scrapped", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("order_sha256", "station", name="pk_order_counts"),
        sa.ForeignKeyConstraint(["order_sha256"], ["orders.order_sha256"], name="fk_order_counts_order_sha256"),
        sa.CheckConstraint("pins <= pin_limit", name="ck_order_counts_within_allotment"),
        sa.CheckConstraint("completions - scrapped <= completion_limit", name="ck_order_counts_within_quantity"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _count_what_is_there() -> None:
    """Nobody is below what he has made already: a limit is at least that. A completion counts for who pinned."""
    connection = op.get_bind()
    made = connection.execute(
        sa.text(
            "SELECT pins.order_sha256, pins.station, count(*), count(completions.device_id) FROM pins "
            "LEFT JOIN completions ON completions.device_id = pins.device_id GROUP BY pins.order_sha256, pins.station"
        )
    ).all()
    for order_sha256, station, pins, completions in made:
        find = sa.text("SELECT envelope FROM orders WHERE order_sha256 = :order")
        part = _part(bytes(connection.execute(find, {"order": order_sha256}).scalar_one()), station)
        quantity, allowance = part.get("quantity", 0), part.get("allowance", 0)
        connection.execute(
            sa.text("INSERT INTO order_counts VALUES (:order, :station, :pins, :most, :completions, :good, 0)"),
            {
                "order": order_sha256, "station": station, "pins": pins, "most": max(pins, quantity + allowance),
                "completions": completions, "good": max(completions, quantity),
            },
        )  # fmt: skip


def _part(envelope: bytes, station: str) -> dict[str, int]:
    stations: dict[str, dict[str, int]] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["stations"]
    return stations.get(station, {})


def _guard() -> None:
    append_only(op, "order_approvals", [("envelope_sha256",)])
    append_only(op, "order_raises", [("act_sha256",)])
    rising(
        op, "order_counts", key=("order_sha256", "station"), counts=("pins", "completions", "pin_limit", "scrapped"),
        fixed=("completion_limit",),
    )  # fmt: skip
