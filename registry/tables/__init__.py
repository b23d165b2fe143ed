"""The registry's tables, a module a noun: what it was shown and what it answered, each row written once, and counts.

Triggers that refuse UPDATE, DELETE and replacement are made in the migrations. No table has a rowid: a row has no name
but its keys. Never reads or writes rows itself.
"""

from __future__ import annotations

from registry.tables.leases import lease_signatures, leases, reported_pins, station_counts
from registry.tables.metadata import metadata
from registry.tables.orders import order_approvals, order_counts, order_raises
from registry.tables.pins import completions, orders, pins, receipts, signature_r
from registry.tables.roots import roots

__all__ = [
    "APPEND_ONLY",
    "completions",
    "lease_signatures",
    "leases",
    "metadata",
    "order_approvals",
    "order_counts",
    "order_raises",
    "orders",
    "pins",
    "receipts",
    "reported_pins",
    "roots",
    "signature_r",
    "station_counts",
]

APPEND_ONLY = (
    orders, pins, completions, receipts, signature_r, leases, lease_signatures, reported_pins, roots,
    order_approvals, order_raises,
)  # fmt: skip
