"""Checkpoints: ask for the log's next signed head, with a consistency proof, and keep it.

Two transactions around the signer's answer. The intent is durable before anyone signs: a crash between signing and
storing makes the next call ask for the very same head again, so the signer never sees two heads without a proof
between them. Never signs, never knows which process does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, select

from ledger.append import frontier_at, tip
from ledger.engine import Connection
from ledger.tables import CHECKPOINTS, INTENTS, LEAVES
from trust.merkle import Frontier, Nodes, consistency_proof, node_hash
from trust.signed_note import Checkpoint, Head, NoteError, NoteKey, verify

_LAST = select(func.coalesce(func.max(CHECKPOINTS.c.size), 0))
_OPEN = (
    select(INTENTS.c.size, INTENTS.c.old_size)
    .where(INTENTS.c.size > bindparam("last"))
    .order_by(INTENTS.c.size)
    .limit(1)
)
_INTEND = insert(INTENTS)
_NOTE = select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == bindparam("size"))
_KEEP = insert(CHECKPOINTS)
_NEWEST = select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
_HASH = select(LEAVES.c.leaf_hash).where(LEAVES.c.index == bindparam("leaf"))


class PublishError(Exception):
    """The note that came back is not the checkpoint that was asked for; nothing was stored."""


ROUNDS = 2  # the head that a crash left open, then the present one


def prepare(connection: Connection, origin: str) -> Head | None:
    """The next head to be signed, its intent written; None when the last checkpoint covers every leaf."""
    last = connection.execute(_LAST).scalar_one()
    intent = connection.execute(_OPEN, {"last": last}).one_or_none()
    if intent is not None:  # asked for before a crash: perhaps signed, so nothing else may be signed first
        return _head(connection, origin, intent.old_size, intent.size)
    size = tip(connection).size
    if size == last:
        return None
    connection.execute(_INTEND, {"size": size, "old_size": last})
    return _head(connection, origin, last, size)


def store(connection: Connection, head: Head, note: str, key: NoteKey) -> Checkpoint:
    """Keep the note, if it is the head that was asked for, signed by the log key; PublishError otherwise."""
    try:
        checkpoint = verify(note, key.name, key.spki)
    except NoteError as error:
        raise PublishError(f"the checkpoint that came back cannot be used: {error}") from error
    if checkpoint != Checkpoint(origin=head.origin, size=head.size, root_hash=head.root_hash):
        raise PublishError(f"asked for a checkpoint of {head.size} leaves, got another (size {checkpoint.size})")
    there = connection.execute(_NOTE, {"size": head.size}).scalar_one_or_none()
    if there is None:
        connection.execute(_KEEP, {"size": head.size, "note": note})
    return checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the log and its checkpoints are: leaves, newest checkpoint stored (0: none), the size asked for after it.

    `root_hash` is that of the log's first leaves, as many as were asked about; None if it has fewer.
    """

    size: int
    checkpoint: int
    intent: int | None
    root_hash: bytes | None


def standing(connection: Connection, at: int) -> Standing:
    """How far the log is, with its root hash when it had `at` leaves. Believes what is stored."""
    last, size = connection.execute(_LAST).scalar_one(), tip(connection).size
    intent = connection.execute(_OPEN, {"last": last}).one_or_none()
    return Standing(
        size=size,
        checkpoint=last,
        intent=None if intent is None else intent.size,
        root_hash=frontier_at(connection, at).root if at <= size else None,
    )


def latest(connection: Connection) -> str | None:
    """The newest checkpoint's note, verbatim."""
    newest: str | None = connection.execute(_NEWEST).scalar_one_or_none()
    return newest


def nodes(connection: Connection) -> Nodes:
    """Roots of full subtrees, from the frontiers on disk: at most `level` + 1 reads each, no second table to trust."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            stored: bytes = connection.execute(_HASH, {"leaf": index}).scalar_one()
            return stored
        if index % 2 == 0:  # a left child ends the frontier of the size at which it became full
            return frontier_at(connection, (index + 1) << level).hashes[-1]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def _head(connection: Connection, origin: str, old_size: int, size: int) -> Head:
    frontier: Frontier = frontier_at(connection, size)
    return Head(
        origin=origin,
        size=size,
        root_hash=frontier.root,
        old_size=old_size,
        proof=consistency_proof(nodes(connection), old_size, size),
    )
