"""People as random ids: what they may do, what they sign in by, their tokens, failed tries, and the rosters of them.

Nothing here tells who somebody is. Old verifiers and secrets are nothing to keep: `credentials` and `tries` are the two
tables whose rows change.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, ForeignKeyConstraint, LargeBinary, Table, Text

from registry.tables.metadata import Number, metadata

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("made_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The random ids (32 hex digits) that were given out; none is given twice."""

user_states = Table(
    "user_states",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("number", Number, primary_key=True),
    Column("what", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("enabled", Number, nullable=False),
    Column("by_whom", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("approver", Text, nullable=False, server_default=""),
    CheckConstraint("enabled IN (0, 1)", name="enabled_is_boolean"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What became of a user, `number` 1, 2, 3 and so on: the last one holds. `by_whom`: a user's id, or `console`.

`approver`: the fingerprint of the key that the user approves with, or empty. Whose key that is, the trust root says.
"""

credentials = Table(
    "credentials",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("password", Text, nullable=False),
    Column("floor_password", Text, nullable=False),
    Column("totp_secret", Text, nullable=False),
    Column("last_step", Number, nullable=False),
    Column("badge", Text, nullable=True, unique=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What a user signs in by, as it is now: verifiers of the password for here and for rosters, TOTP secret, badge's hash.

`last_step`: the time step of the last one-time code that was accepted. It never falls, so no code is taken twice.
"""

badge_salts = Table(
    "badge_salts",
    metadata,
    Column("number", Number, primary_key=True),
    Column("salt", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What all badges are hashed under: one row, number 1."""

tries = Table(
    "tries",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("failed", Number, nullable=False),
    Column("not_before", Number, nullable=False),
    Column("seen", Number, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Tries to sign in that were evaluated and failed in a row, and when the next one may be (Unix seconds).

`subject`: a user's id, or a hash of one that is nobody's. `origin`: a place that the user has signed in from
before (a hash), or empty for all others together.
"""

person_tokens = Table(
    "person_tokens",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("user_id", Text, nullable=False, index=True),
    Column("state_number", Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("second_factor_at", Text, nullable=False),
    Column("made_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    ForeignKeyConstraint(["user_id", "state_number"], ["user_states.user_id", "user_states.number"]),
    CheckConstraint("kind IN ('session', 'api')", name="kind_known"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Sessions and API tokens; the tokens themselves are nowhere. `scopes`: with a space between, empty for a session.

A token holds while the user's state is the one that it was made under, or nothing but the badge has changed since.
"""

ended_tokens = Table(
    "ended_tokens",
    metadata,
    Column("token_sha256", Text, ForeignKey("person_tokens.token_sha256"), primary_key=True),
    Column("at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Tokens that were withdrawn."""

rosters = Table(
    "rosters",
    metadata,
    Column("serial", Number, primary_key=True),
    Column("roster", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What was issued; `roster` is the envelope before it is signed."""

roster_signatures = Table(
    "roster_signatures",
    metadata,
    Column("serial", Number, ForeignKey("rosters.serial"), primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The signed envelope of a roster."""
