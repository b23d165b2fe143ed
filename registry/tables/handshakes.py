"""What devices gave of their own randomness in handshakes, as hashes, while a repeat would tell something."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text

from registry.tables.metadata import Number, metadata

device_randoms = Table(
    "device_randoms",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("expires_at", Number, nullable=False, index=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Client randoms and ephemeral points of DTLS handshakes, of all devices: the key *is* the rule "never twice"."""
