"""What became of pins: acts, revocations, words, proposals, and challenges for new keys. Never reads or writes rows.

A device has at most one row of each number, each number follows the one before it (a trigger says so), and a row has
room for one key that is good and one that is going out: so a device has at most one of each.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text

from registry.tables.metadata import Number, metadata

pin_acts = Table(
    "pin_acts",
    metadata,
    Column("device_id", Text, ForeignKey("pins.device_id"), primary_key=True),
    Column("number", Number, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("was", Text, nullable=False),
    Column("act", LargeBinary, nullable=False),
    Column("act_sha256", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("expiring", Text, nullable=True),
    Column("ends_at", Text, nullable=True),
    Column("repin", LargeBinary, nullable=True),
    Column("repin_sha256", Text, nullable=True, unique=True),
    Column("authorisation", LargeBinary, nullable=True),
    Column("new_fingerprint", Text, nullable=True, unique=True),
    Column("new_modulus", LargeBinary, nullable=True, unique=True),
    Column("challenge", LargeBinary, nullable=True, unique=True),
    Column("registered_at", Text, nullable=False),
    CheckConstraint("number >= 1", name="counted"),
    CheckConstraint("state IN ('provisional', 'active', 'revoked', 'scrapped')", name="state"),
    CheckConstraint("(expiring IS NULL) = (ends_at IS NULL)", name="ends"),
    CheckConstraint("expiring IS NULL OR (state = 'active' AND expiring <> fingerprint)", name="one_expiring"),
    CheckConstraint(
        "new_fingerprint IS NULL OR (new_fingerprint = fingerprint AND state = 'active')", name="one_active"
    ),
    CheckConstraint("(repin IS NULL) = (new_fingerprint IS NULL)", name="shown"),
    CheckConstraint("(repin IS NULL) = (repin_sha256 IS NULL)", name="hashed"),
    CheckConstraint("(repin IS NULL) = (challenge IS NULL)", name="challenged"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Each act on a device's pin, in its order, and what the device was afterwards.

`act` is the approved envelope, `act_sha256` that of its payload: an act is done once. `repin` is the new key's
statement, `new_fingerprint` and `new_modulus` its key: also never one of `pins` (a trigger says so).
"""

revocations = Table(
    "revocations",
    metadata,
    Column("act_sha256", Text, ForeignKey("pin_acts.act_sha256"), primary_key=True),
    Column("device_id", Text, ForeignKey("pins.device_id"), nullable=False, index=True),
    Column("order_id", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Index("ix_revocations_order_id", "order_id", "cause", "act_sha256"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The signed revocation that followed from an act."""

rekey_words = Table(
    "rekey_words",
    metadata,
    Column("act_sha256", Text, primary_key=True),
    Column("number", Number, primary_key=True),
    Column("device_id", Text, ForeignKey("pins.device_id"), nullable=False, index=True),
    Column("act", LargeBinary, nullable=False),
    Column("word", LargeBinary, nullable=False),
    Column("said_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The authority's words for steps that no pin shows (`registry.pins.words`), in their order; both are envelopes."""

challenges = Table(
    "challenges",
    metadata,
    Column("challenge", LargeBinary, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("expires_at", Text, nullable=False, index=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Given out for a new key's proof (32 bytes). Used by its place in `pin_acts`; swept when it is over."""

proposals = Table(
    "proposals",
    metadata,
    Column("proposal", Text, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("proposer", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("spki", LargeBinary, nullable=True),
    Column("fingerprint", Text, nullable=True),
    Column("proposed_at", Text, nullable=False),
    Index("ix_proposals_device_id", "device_id", "proposed_at"),
    Index("ix_proposals_fingerprint", "fingerprint"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What somebody who is signed in would like done about a device: changes nothing. `proposer` is an id of theirs."""

proposal_proofs = Table(
    "proposal_proofs",
    metadata,
    Column("device_id", Text, ForeignKey("pins.device_id"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("protocol", Text, nullable=False),
    Column("transcript_sha256", Text, nullable=False),
    Column("proved_at", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""That a device has the key that was proposed for it, by the one handshake with it that there ever is."""
