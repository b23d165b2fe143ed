"""Leases: what was granted to each station's signer, what its signer reported, how many pins it may have."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, LargeBinary, Table, Text, UniqueConstraint

from registry.tables.metadata import Number, metadata

leases = Table(
    "leases",
    metadata,
    Column("station", Text, primary_key=True),
    Column("serial", Number, primary_key=True),
    Column("request_sha256", Text, nullable=False, unique=True),
    Column("request", LargeBinary, nullable=False),
    Column("lease", LargeBinary, nullable=False),
    Column("signed", Number, nullable=False),
    Column("up_to", Number, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("log_size", Number, nullable=False),
    Column("log_root_hash", LargeBinary, nullable=False),
    Column("granted_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What was granted to a station's signer; `lease` is the envelope before it is signed."""

lease_signatures = Table(
    "lease_signatures",
    metadata,
    Column("station", Text, primary_key=True),
    Column("serial", Number, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    ForeignKeyConstraint(["station", "serial"], ["leases.station", "leases.serial"]),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The signed envelope of a lease."""

reported_pins = Table(
    "reported_pins",
    metadata,
    Column("station", Text, primary_key=True),
    Column("number", Number, primary_key=True),
    Column("statement_sha256", Text, nullable=False),
    UniqueConstraint("station", "statement_sha256", name="uq_reported_pins_station"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Pin statements that a station's signer says it has made, in its own order."""

station_counts = Table(
    "station_counts",
    metadata,
    Column("station", Text, primary_key=True),
    Column("pins", Number, nullable=False),
    Column("up_to", Number, nullable=False),
    Column("reported_before", Text, nullable=False),
    CheckConstraint("pins <= up_to", name="within_lease"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""How many pins a station has here, and may have by its leases: the one table whose rows change, upwards only.

All but `reported_before`: each pin of the station that was registered before that time was reported by its signer. A
lease moves it on, as far as no pin is missing; a pin that comes in with an earlier time takes it back.
"""
