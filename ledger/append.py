"""Appending a leaf inside the caller's transaction, so that state change and log entry are one commit or none.

Needs a transaction that began with the write lock (ledger.engine.writing): then the tip that is read is the tip that is
extended. Never commits, never looks into an entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select

from ledger.engine import Connection
from ledger.tables import LEAVES, MAX_ENTRY_BYTES
from trust.merkle import Frontier, MerkleError, leaf_hash

_LEAF = LEAVES.c
_THERE = select(_LEAF.index, _LEAF.leaf_hash, _LEAF.entry).where(
    _LEAF.subject == bindparam("subject"), _LEAF.step == bindparam("step")
)
_TIP = select(_LEAF.frontier).order_by(_LEAF.index.desc()).limit(1)
_FRONTIER = select(_LEAF.frontier).where(_LEAF.index == bindparam("last"))
_EXTEND = insert(LEAVES)


class LeafConflictError(Exception):
    """The step of this subject is in the log already with other bytes; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRef:
    """Where an entry stands in the log, its leaf hash, and whether this call put it there."""

    index: int
    leaf_hash: bytes
    new: bool


def append(connection: Connection, entry: bytes, *, subject: str, step: str) -> LeafRef:
    """Append an entry of 1 to 65,535 bytes; the same bytes again give the leaf that is there.

    Raises LeafConflictError for other bytes under the same subject and step, ValueError for a size that no tile takes.
    """
    if not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise ValueError(f"a log entry takes 1 to {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
    there = connection.execute(_THERE, {"subject": subject, "step": step}).one_or_none()
    if there is not None:
        index, hashed, stored = there
        if stored != entry:
            raise LeafConflictError(f"{subject} {step} is leaf {index} already, with other bytes")
        return LeafRef(index=index, leaf_hash=hashed, new=False)
    return _extend(connection, entry, subject, step)


def tip(connection: Connection) -> Frontier:
    """The log's state now."""
    stored = connection.execute(_TIP).scalar_one_or_none()
    return Frontier() if stored is None else Frontier.from_bytes(stored)


def frontier_at(connection: Connection, size: int) -> Frontier:
    """The log's state when it had `size` leaves, as stored. Raises MerkleError if there is no such row."""
    if size == 0:
        return Frontier()
    stored = connection.execute(_FRONTIER, {"last": size - 1}).scalar_one_or_none()
    if stored is None:
        raise MerkleError(f"leaf {size - 1} is missing")
    return Frontier.from_bytes(stored)


def _extend(connection: Connection, entry: bytes, subject: str, step: str) -> LeafRef:
    before = tip(connection)
    hashed = leaf_hash(entry)
    row = {
        "index": before.size,
        "entry": entry,
        "leaf_hash": hashed,
        "frontier": before.append(hashed).to_bytes(),
        "subject": subject,
        "step": step,
    }
    connection.execute(_EXTEND, row)
    return LeafRef(index=before.size, leaf_hash=hashed, new=True)
