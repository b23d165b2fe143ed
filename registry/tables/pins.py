"""Pins, what closed them, and what was answered: each row written once; a pin with a completion is active.

The unique constraints here *are* the rules "one pin a device, one device a key, a modulus, an ECDSA r, a job".
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from registry.tables.metadata import metadata

orders = Table(
    "orders",
    metadata,
    Column("order_sha256", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The work order that came with its first pin; `order_sha256` is that of the payload."""

pins = Table(
    "pins",
    metadata,
    Column("device_id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("modulus", LargeBinary, nullable=True, unique=True),
    Column("order_id", Text, nullable=False),
    Column("order_sha256", Text, ForeignKey("orders.order_sha256"), nullable=False, index=True),
    Column("statement", LargeBinary, nullable=False),
    Column("statement_sha256", Text, nullable=False, unique=True),
    Column("registered_at", Text, nullable=False),
    UniqueConstraint("station", "job", name="uq_pins_station_job"),
    Index("ix_pins_station_registered_at", "station", "registered_at"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""One row a device. Ids and hashes are hex; `modulus` (RSA only) big-endian; `statement` the envelope's JSON.

A job's id is its station's: a device tells its own to whoever asks, so another station's use of it proves nothing.
"""

completions = Table(
    "completions",
    metadata,
    Column("device_id", Text, ForeignKey("pins.device_id"), primary_key=True),
    Column("pin_sha256", Text, ForeignKey("pins.statement_sha256"), nullable=False, unique=True),
    Column("statement", LargeBinary, nullable=False),
    Column("statement_sha256", Text, nullable=False, unique=True),
    Column("registered_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The closing statement of a pin; its presence makes the pin active."""

receipts = Table(
    "receipts",
    metadata,
    Column("statement_sha256", Text, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The signed answer to a pin statement or completion, named by the SHA-256 of that statement's payload."""

signature_r = Table(
    "signature_r",
    metadata,
    Column("r", LargeBinary, primary_key=True),
    Column("device_id", Text, ForeignKey("pins.device_id"), nullable=False, index=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Each r of an ECDSA signature that a device made (32 bytes, big-endian): seen twice, a nonce was repeated."""
