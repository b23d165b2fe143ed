"""The versions of the trust root that were served under."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from registry.tables.metadata import Number, metadata

roots = Table(
    "roots",
    metadata,
    Column("version", Number, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("taken_up_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The versions of the trust root that this registry has served under."""
