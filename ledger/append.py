"""Appending a leaf inside the caller's transaction, so that state change and log entry are one commit or none.

Needs a transaction that began with the write lock (ledger.engine.writing): then the tip that is read is the tip that is
extended. Never commits, never looks into an entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, select

from ledger.engine import Connection
from ledger.tables import LEAVES, MAX_ENTRY_BYTES
from trust.merkle import Frontier, MerkleError, leaf_hash

_LEAF = LEAVES.c
_LAST = select(func.max(_LEAF.index)).scalar_subquery()
# What stands there already, if anything does, and the tip: one question, asked for every leaf.
_THERE_AND_TIP = (
    select(_LEAF.index.label("at"), _LEAF.leaf_hash, _LEAF.entry, _LEAF.frontier, _LEAF.subject, _LEAF.step)
    .where(((_LEAF.subject == bindparam("subject")) & (_LEAF.step == bindparam("step"))) | (_LEAF.index == _LAST))
    .order_by(_LEAF.index)
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
    found = connection.execute(_THERE_AND_TIP, {"subject": subject, "step": step}).all()
    there = next((each for each in found if (each.subject, each.step) == (subject, step)), None)
    if there is None:
        before = Frontier.from_bytes(found[-1].frontier) if found else Frontier()
        return _extend(connection, before, entry, subject, step)
    if there.entry != entry:
        raise LeafConflictError(f"{subject} {step} is leaf {there.at} already, with other bytes")
    return LeafRef(index=there.at, leaf_hash=there.leaf_hash, new=False)


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


def _extend(connection: Connection, before: Frontier, entry: bytes, subject: str, step: str) -> LeafRef:
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
