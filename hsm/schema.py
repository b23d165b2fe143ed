"""Tables of the signer's counters. Constraints, not code, hold the limits; only stale challenges are ever deleted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

APPLICATION_ID: Final = 0x4B535347  # "KSSG"
VERSION: Final = 2

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
    completions INTEGER NOT NULL CHECK (completions >= 0),
    scrapped INTEGER NOT NULL CHECK (scrapped BETWEEN 0 AND completions),
    raised INTEGER NOT NULL CHECK (raised >= 0),
    returned TEXT REFERENCES documents (payload_sha256),
    CHECK (completions - scrapped <= completion_limit)
) STRICT;
CREATE TABLE documents (
    payload_sha256 TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    envelope BLOB,
    resigned INTEGER NOT NULL CHECK (resigned >= 0)
) STRICT;
CREATE TABLE roots (version INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, taken_up_at INTEGER NOT NULL) STRICT;
CREATE TABLE times (id INTEGER PRIMARY KEY CHECK (id = 1), newest INTEGER NOT NULL) STRICT;
CREATE TABLE scraps (
    device_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id),
    completed INTEGER NOT NULL CHECK (completed IN (0, 1)),
    revocation BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (
    serial INTEGER PRIMARY KEY CHECK (serial >= 1),
    request_sha256 TEXT NOT NULL REFERENCES documents (payload_sha256),
    signed INTEGER NOT NULL CHECK (signed >= 0),
    head BLOB NOT NULL CHECK (length(head) = 32),
    lease BLOB,
    up_to INTEGER CHECK (up_to > signed),
    expires_at INTEGER
) STRICT;
CREATE TABLE granted (
    station TEXT NOT NULL,
    serial INTEGER NOT NULL CHECK (serial >= 1),
    payload_sha256 TEXT NOT NULL UNIQUE,
    PRIMARY KEY (station, serial)
) STRICT, WITHOUT ROWID;
CREATE TABLE acts (
    payload_sha256 TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    envelope BLOB NOT NULL,
    performed_at INTEGER NOT NULL
) STRICT;
CREATE TABLE stops (
    id INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    surplus INTEGER NOT NULL CHECK (surplus >= 0),
    stopped_at INTEGER NOT NULL,
    lifted_by TEXT REFERENCES acts (payload_sha256)
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
CREATE TABLE nonces (
    r BLOB PRIMARY KEY CHECK (length(r) = 32),
    device_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE statements (
    payload_sha256 TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('pin', 'completion', 'receipt')),
    number INTEGER UNIQUE,
    order_id TEXT NOT NULL,
    job TEXT NOT NULL,
    device_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    payload BLOB NOT NULL,
    envelope BLOB,
    resigned INTEGER NOT NULL CHECK (resigned >= 0),
    CHECK ((kind = 'pin') = (number IS NOT NULL)),
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
CREATE TRIGGER payload_is_for_ever
    BEFORE UPDATE OF payload_sha256, kind, number, order_id, job, device_id, fingerprint, payload ON statements
    BEGIN SELECT raise(ABORT, 'a payload never changes'); END;
CREATE TRIGGER envelope_is_for_ever BEFORE UPDATE OF envelope ON statements WHEN old.envelope IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a signed envelope never changes'); END;
CREATE TRIGGER nonce_stays BEFORE DELETE ON nonces BEGIN SELECT raise(ABORT, 'nonces stay'); END;
CREATE TRIGGER statement_stays BEFORE DELETE ON statements BEGIN SELECT raise(ABORT, 'statements stay'); END;
CREATE TRIGGER checkpoint_stays BEFORE DELETE ON checkpoints BEGIN SELECT raise(ABORT, 'checkpoints stay'); END;
CREATE TRIGGER log_never_shrinks BEFORE INSERT ON checkpoints
    WHEN new.size <= (SELECT max(size) FROM checkpoints WHERE origin = new.origin)
    BEGIN SELECT raise(ABORT, 'the log never shrinks'); END;
CREATE TRIGGER counts_never_fall BEFORE UPDATE OF pins, completions, scrapped ON orders
    WHEN new.pins < old.pins OR new.completions < old.completions OR new.scrapped < old.scrapped
    BEGIN SELECT raise(ABORT, 'counts never fall'); END;
CREATE TRIGGER document_is_for_ever BEFORE UPDATE OF payload_sha256, kind, payload ON documents
    BEGIN SELECT raise(ABORT, 'a document never changes'); END;
CREATE TRIGGER document_is_signed_once BEFORE UPDATE OF envelope ON documents WHEN old.envelope IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a signed document never changes'); END;
CREATE TRIGGER document_stays BEFORE DELETE ON documents BEGIN SELECT raise(ABORT, 'documents stay'); END;
CREATE TRIGGER grant_stays BEFORE DELETE ON granted BEGIN SELECT raise(ABORT, 'grants stay'); END;
CREATE TRIGGER order_stays BEFORE DELETE ON orders BEGIN SELECT raise(ABORT, 'orders stay'); END;
CREATE TRIGGER root_stays BEFORE DELETE ON roots BEGIN SELECT raise(ABORT, 'roots stay'); END;
CREATE TRIGGER roots_never_go_back BEFORE INSERT ON roots WHEN new.version <= (SELECT max(version) FROM roots)
    BEGIN SELECT raise(ABORT, 'the root never goes back'); END;
CREATE TRIGGER time_never_goes_back BEFORE UPDATE ON times WHEN new.newest < old.newest
    BEGIN SELECT raise(ABORT, 'time never goes back'); END;
CREATE TRIGGER scrap_stays BEFORE DELETE ON scraps BEGIN SELECT raise(ABORT, 'scraps stay'); END;
CREATE TRIGGER lease_stays BEFORE DELETE ON leases BEGIN SELECT raise(ABORT, 'leases stay'); END;
CREATE TRIGGER lease_is_for_ever BEFORE UPDATE ON leases WHEN old.lease IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a lease never changes'); END;
CREATE TRIGGER act_stays BEFORE DELETE ON acts BEGIN SELECT raise(ABORT, 'acts stay'); END;
CREATE TRIGGER stop_stays BEFORE DELETE ON stops BEGIN SELECT raise(ABORT, 'stops stay'); END;
CREATE TRIGGER stop_is_lifted_once BEFORE UPDATE ON stops WHEN old.lifted_by IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a stop is lifted once'); END;
"""
