"""The registry's tables: what it was shown and what it answered, each row written once, and a count a station.

Nothing but `station_counts` is updated in place: a pin with a completion is active, one without is provisional. The
unique constraints here *are* the rules "one pin a device, one device a key, a modulus, an ECDSA r, a job". Triggers
that refuse UPDATE, DELETE and replacement are made in the migration. No table has a rowid: a row has no name but its
keys. Never reads or writes rows itself.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

_Number = BigInteger().with_variant(Integer(), "sqlite")  # a STRICT table of SQLite knows INTEGER only

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

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

leases = Table(
    "leases",
    metadata,
    Column("station", Text, primary_key=True),
    Column("serial", _Number, primary_key=True),
    Column("request_sha256", Text, nullable=False, unique=True),
    Column("request", LargeBinary, nullable=False),
    Column("lease", LargeBinary, nullable=False),
    Column("signed", _Number, nullable=False),
    Column("up_to", _Number, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("log_size", _Number, nullable=False),
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
    Column("serial", _Number, primary_key=True),
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
    Column("number", _Number, primary_key=True),
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
    Column("pins", _Number, nullable=False),
    Column("up_to", _Number, nullable=False),
    Column("reported_before", Text, nullable=False),
    CheckConstraint("pins <= up_to", name="within_lease"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""How many pins a station has here, and may have by its leases: the one table whose rows change, upwards only.

All but `reported_before`: each pin of the station that was registered before that time was reported by its signer. A
lease moves it on, as far as no pin is missing; a pin that comes in with an earlier time takes it back.
"""

roots = Table(
    "roots",
    metadata,
    Column("version", _Number, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("taken_up_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The versions of the trust root that this registry has served under."""

APPEND_ONLY = (orders, pins, completions, receipts, signature_r, leases, lease_signatures, reported_pins, roots)
