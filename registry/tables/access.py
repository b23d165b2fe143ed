"""What access needs to remember for minutes or days: access tokens, what is good once, secrets for nonces.

No record of anything: rows go when their time is over. Times are Unix seconds of the registry's clock.
"""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text

from registry.tables.metadata import Number, metadata

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("station", Text, nullable=False),
    Column("client_sha256", Text, nullable=False),
    Column("thumbprint", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("expires_at", Number, nullable=False, index=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""A station's access tokens; who reads the table has no token. `client_sha256` is the key that asked for it."""

used_once = Table(
    "used_once",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("expires_at", Number, nullable=False, index=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The `jti` of client assertions and DPoP proofs that were used, for as long as they would be taken."""

nonce_secrets = Table(
    "nonce_secrets",
    metadata,
    Column("day", Number, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The secret of a day, numbered from 1970, under which nonces for DPoP proofs are made."""
