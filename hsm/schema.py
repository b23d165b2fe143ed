"""Tables of the signer's counters. Constraints, not code, hold the limits; only stale challenges are ever deleted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

APPLICATION_ID: Final = 0x4B535347  # "KSSG"
VERSION: Final = 1

# Wanted value and what SQLite reads back. EXTRA also syncs the directory after the journal has ended a transaction.
PRAGMAS: Final[Mapping[str, tuple[str, object]]] = MappingProxyType(
    {
        "journal_mode": ("TRUNCATE", "truncate"),
        "synchronous": ("EXTRA", 3),
        "foreign_keys": ("ON", 1),
        "trusted_schema": ("OFF", 0),
        "cell_size_check": ("ON", 1),
        "recursive_triggers": ("ON", 1),  # else INSERT OR REPLACE deletes behind the triggers that refuse DELETE
    }
)

SCHEMA: Final = """
CREATE TABLE owner (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    role TEXT NOT NULL, name TEXT NOT NULL, environment TEXT NOT NULL, keys_sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    envelope BLOB NOT NULL,
    pin_limit INTEGER NOT NULL,
    completion_limit INTEGER NOT NULL,
    pins INTEGER NOT NULL CHECK (pins BETWEEN 0 AND pin_limit),
    completions INTEGER NOT NULL CHECK (completions BETWEEN 0 AND completion_limit)
) STRICT;
CREATE TABLE challenges (
    challenge BLOB PRIMARY KEY CHECK (length(challenge) = 32),
    purpose TEXT NOT NULL CHECK (purpose IN ('pin', 'report')),
    order_id TEXT NOT NULL REFERENCES orders (id),
    job TEXT NOT NULL,
    device_id TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    used_by TEXT UNIQUE
) STRICT, WITHOUT ROWID;
CREATE INDEX challenges_unused ON challenges (issued_at) WHERE used_by IS NULL;
CREATE TABLE keys (
    fingerprint TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    UNIQUE (fingerprint, device_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE statements (
    payload_sha256 TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('pin', 'completion', 'receipt')),
    order_id TEXT NOT NULL,
    job TEXT NOT NULL,
    device_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    payload BLOB NOT NULL,
    envelope BLOB,
    resigned INTEGER NOT NULL CHECK (resigned >= 0),
    FOREIGN KEY (fingerprint, device_id) REFERENCES keys (fingerprint, device_id)
) STRICT;
CREATE UNIQUE INDEX one_a_job ON statements (kind, job) WHERE kind <> 'receipt';
CREATE UNIQUE INDEX one_pin_a_device ON statements (device_id) WHERE kind = 'pin';
CREATE UNIQUE INDEX one_completion_a_device_and_order ON statements (order_id, device_id) WHERE kind = 'completion';
CREATE TABLE signatures (
    purpose TEXT PRIMARY KEY,
    payloads INTEGER NOT NULL,
    resigned INTEGER NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root_hash BLOB NOT NULL CHECK (length(root_hash) = 32),
    note TEXT,
    PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER payload_is_for_ever BEFORE UPDATE OF payload_sha256, kind, order_id, job, device_id, fingerprint, payload
    ON statements BEGIN SELECT raise(ABORT, 'a payload never changes'); END;
CREATE TRIGGER envelope_is_for_ever BEFORE UPDATE OF envelope ON statements WHEN old.envelope IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a signed envelope never changes'); END;
CREATE TRIGGER statement_stays BEFORE DELETE ON statements BEGIN SELECT raise(ABORT, 'statements stay'); END;
CREATE TRIGGER checkpoint_stays BEFORE DELETE ON checkpoints BEGIN SELECT raise(ABORT, 'checkpoints stay'); END;
CREATE TRIGGER log_never_shrinks BEFORE INSERT ON checkpoints
    WHEN new.size <= (SELECT max(size) FROM checkpoints WHERE origin = new.origin)
    BEGIN SELECT raise(ABORT, 'the log never shrinks'); END;
CREATE TRIGGER counts_never_fall BEFORE UPDATE OF pins, completions ON orders
    WHEN new.pins < old.pins OR new.completions < old.completions
    BEGIN SELECT raise(ABORT, 'counts never fall'); END;
"""
