"""Checkpoints: proven from the last one, asked for again after a crash, stored only if they are what was asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ledger.engine import Engine, reading, writing
from ledger.publish import PublishError, latest, nodes, prepare, store
from tests.ledger.conftest import ORIGIN, LogSigner
from tests.ledger.publishing import publish
from tests.trust.trees import nodes_of, root_of
from trust.merkle import EMPTY_ROOT, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from trust.signed_note import Head, assemble, checkpoint_text, sign_line, verify

Fill = Callable[[int], None]


def test_nothing_to_publish(engine: Engine, signer: LogSigner, fill: Fill) -> None:
    assert publish(engine, signer.key, signer.sign) is None
    fill(3)
    assert publish(engine, signer.key, signer.sign) is not None
    assert publish(engine, signer.key, signer.sign) is None
    assert len(signer.asked) == 1


def test_each_head_is_proven_from_the_one_before(engine: Engine, signer: LogSigner, fill: Fill) -> None:
    for count in (1, 2, 5, 1, 9, 40):
        fill(count)
        publish(engine, signer.key, signer.sign)
    root, size = EMPTY_ROOT, 0
    for head in signer.asked:
        assert head.old_size == size
        assert verify_consistency(size, head.size, root, head.root_hash, head.proof)
        root, size = head.root_hash, head.size
    assert size == 58
    with reading(engine) as connection:
        note = latest(connection)
    assert note is not None
    assert verify(note, ORIGIN, signer.key.spki).size == 58


def test_nodes_from_frontiers_are_the_tree(engine: Engine, fill: Fill) -> None:
    fill(70)
    leaves = [leaf_hash(f"entry {each}".encode()) for each in range(70)]
    wanted = nodes_of(leaves)
    with reading(engine) as connection:
        found = nodes(connection)
        for level in range(7):
            for index in range(70 >> level):
                assert found(level, index) == wanted(level, index)
        for size in (1, 2, 33, 64, 70):
            for index in range(size):
                proof = inclusion_proof(nodes(connection), index, size)
                assert verify_inclusion(index, size, leaves[index], root_of(leaves[:size]), proof)


def test_after_a_crash_the_same_head_is_asked_for_again(engine: Engine, signer: LogSigner, fill: Fill) -> None:
    """The signer may have signed it: a larger head without a proof from it would be a fork."""

    def crash(head: Head) -> str:
        signer.sign(head)
        raise ConnectionError("the answer is lost")

    fill(5)
    publish(engine, signer.key, signer.sign)
    fill(4)
    with pytest.raises(ConnectionError):
        publish(engine, signer.key, crash)
    fill(6)
    publish(engine, signer.key, signer.sign)
    first, lost, again, last = signer.asked
    assert lost == again
    assert (first.size, lost.size, last.size) == (5, 9, 15)
    assert (last.old_size, verify_consistency(9, 15, lost.root_hash, last.root_hash, last.proof)) == (9, True)


@pytest.mark.parametrize("other", ["size", "root", "origin", "key", "text", "damaged"])
def test_a_note_that_was_not_asked_for_is_not_stored(engine: Engine, signer: LogSigner, fill: Fill, other: str) -> None:
    fill(5)

    def sign(head: Head) -> str:
        if other == "key":
            return LogSigner().sign(head)
        size = head.size + (other == "size")
        root = leaf_hash(b"other") if other == "root" else head.root_hash
        origin = "demo/station-02/log" if other == "origin" else head.origin
        text = checkpoint_text(origin, size, root)
        if other == "text":
            text = "not a checkpoint\n"
        note = assemble(text, sign_line(ORIGIN, signer.key.spki, signer.raw(text)))
        return note.replace("\n", " ") if other == "damaged" else note

    with pytest.raises(PublishError):
        publish(engine, signer.key, sign)
    with reading(engine) as connection:
        assert latest(connection) is None
    assert publish(engine, signer.key, signer.sign) is not None


def test_two_publishers_ask_for_one_head(engine: Engine, signer: LogSigner, fill: Fill) -> None:
    fill(5)
    with writing(engine) as connection:
        first = prepare(connection, ORIGIN)
    fill(1)
    with writing(engine) as connection:
        second = prepare(connection, ORIGIN)
    assert first is not None
    assert first == second
    for _ in range(2):  # both answers come back, in any bytes: the first one stays
        with writing(engine) as connection:
            store(connection, first, signer.sign(first), signer.key)


def test_the_log_key_is_not_changed_in_passing(engine: Engine, path: Path, signer: LogSigner, fill: Fill) -> None:
    fill(2)
    publish(engine, signer.key, signer.sign)
    with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute("UPDATE checkpoints SET note = 'x'")
