"""Tables of work orders beside the orders themselves: later approvals, raised limits, and the counts."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, LargeBinary, Table, Text

from registry.tables.metadata import Number, metadata

order_approvals = Table(
    "order_approvals",
    metadata,
    Column("envelope_sha256", Text, primary_key=True),
    Column("order_sha256", Text, ForeignKey("orders.order_sha256"), nullable=False, index=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("taken_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""An order's envelopes with other approvals than those that came first."""

order_raises = Table(
    "order_raises",
    metadata,
    Column("act_sha256", Text, primary_key=True),
    Column("order_sha256", Text, ForeignKey("orders.order_sha256"), nullable=False, index=True),
    Column("station", Text, nullable=False),
    Column("units", Number, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("taken_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Acts by which officers allow a station more pins of an order; each counts once."""

order_counts = Table(
    "order_counts",
    metadata,
    Column("order_sha256", Text, ForeignKey("orders.order_sha256"), primary_key=True),
    Column("station", Text, primary_key=True),
    Column("pins", Number, nullable=False),
    Column("pin_limit", Number, nullable=False),
    Column("completions", Number, nullable=False),
    Column("completion_limit", Number, nullable=False),
    Column("scrapped", Number, nullable=False),
    CheckConstraint("pins <= pin_limit", name="within_allotment"),
    CheckConstraint("completions - scrapped <= completion_limit", name="within_quantity"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What was pinned and completed of a station's allotment, and may be. Rows change upwards only."""
