"""Checkpoints: ask for the log's next signed head, with a consistency proof, and keep it.

Two transactions around the signer's answer. The intent is durable before anyone signs: a crash between signing and
storing makes the next call ask for the very same head again, so the signer never sees two heads without a proof
between them. Never signs, never knows which process does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from ledger.append import frontier_at, tip
from ledger.engine import Connection, Engine, writing
from ledger.tables import CheckpointIntent, Leaf, StoredCheckpoint
from trust.merkle import Frontier, Nodes, consistency_proof, inclusion_proof, node_hash
from trust.signed_note import Checkpoint, NoteError, NoteKey, verify


class PublishError(Exception):
    """The note that came back is not the checkpoint that was asked for; nothing was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a signer needs to sign the log's new head: size, root hash (32 bytes), RFC 6962 proof from `old_size`."""

    origin: str
    size: int
    root_hash: bytes
    old_size: int
    proof: tuple[bytes, ...]


Sign = Callable[[Head], str]
ROUNDS = 2  # the head that a crash left open, then the present one


def prepare(connection: Connection, origin: str) -> Head | None:
    """The next head to be signed, its intent written; None when the last checkpoint covers every leaf."""
    last = connection.execute(select(func.coalesce(func.max(StoredCheckpoint.size), 0))).scalar_one()
    intent = connection.execute(
        select(CheckpointIntent.size, CheckpointIntent.old_size)
        .where(CheckpointIntent.size > last)
        .order_by(CheckpointIntent.size)
        .limit(1)
    ).one_or_none()
    if intent is not None:  # asked for before a crash: perhaps signed, so nothing else may be signed first
        return _head(connection, origin, intent.old_size, intent.size)
    size = tip(connection).size
    if size == last:
        return None
    connection.execute(insert(CheckpointIntent).values(size=size, old_size=last))
    return _head(connection, origin, last, size)


def store(connection: Connection, head: Head, note: str, key: NoteKey) -> Checkpoint:
    """Keep the note, if it is the head that was asked for, signed by the log key; PublishError otherwise."""
    try:
        checkpoint = verify(note, key.name, key.spki)
    except NoteError as error:
        raise PublishError(f"the checkpoint that came back cannot be used: {error}") from error
    if checkpoint != Checkpoint(head.origin, head.size, head.root_hash):
        raise PublishError(f"asked for a checkpoint of {head.size} leaves, got another (size {checkpoint.size})")
    there = connection.execute(
        select(StoredCheckpoint.note).where(StoredCheckpoint.size == head.size)
    ).scalar_one_or_none()
    if there is None:
        connection.execute(insert(StoredCheckpoint).values(size=head.size, note=note))
    return checkpoint


def publish(engine: Engine, key: NoteKey, sign: Sign) -> Checkpoint | None:
    """Have every leaf covered by a checkpoint; the newest one stored, or None if all were covered."""
    newest: Checkpoint | None = None
    for _ in range(ROUNDS):
        with writing(engine) as connection:
            head = prepare(connection, key.name)
        if head is None:
            break
        note = sign(head)
        with writing(engine) as connection:
            newest = store(connection, head, note, key)
    return newest


def latest(connection: Connection) -> str | None:
    """The newest checkpoint's note, verbatim."""
    query = select(StoredCheckpoint.note).order_by(StoredCheckpoint.size.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def nodes(connection: Connection) -> Nodes:
    """Roots of full subtrees, from the frontiers on disk: at most `level` + 1 reads each, no second table to trust."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return connection.execute(select(Leaf.leaf_hash).where(Leaf.index == index)).scalar_one()
        if index % 2 == 0:  # a left child ends the frontier of the size at which it became full
            return frontier_at(connection, (index + 1) << level).hashes[-1]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def prove_inclusion(connection: Connection, index: int, size: int) -> tuple[bytes, ...]:
    """Audit path of leaf `index` in the tree of `size`, the leaf's sibling first."""
    return inclusion_proof(nodes(connection), index, size)


def _head(connection: Connection, origin: str, old_size: int, size: int) -> Head:
    frontier: Frontier = frontier_at(connection, size)
    return Head(
        origin=origin,
        size=size,
        root_hash=frontier.root,
        old_size=old_size,
        proof=consistency_proof(nodes(connection), old_size, size),
    )
