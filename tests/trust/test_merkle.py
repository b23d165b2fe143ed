"""The tree of RFC 6962: published vectors, every size up to 64 against a second reading of the RFC, and liars refused."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.trees import nodes_of, root_of
from trust.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    MerkleError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

VECTORS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LIMIT = 64
LEAVES = [leaf_hash(index.to_bytes(2)) for index in range(LIMIT)]
NODES = nodes_of(LEAVES)


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, read once more and as slowly as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of §2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF of §2.1.2."""
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


ROOTS = [mth(LEAVES[:size]) for size in range(LIMIT + 1)]


def mutants(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Every proof that is this one with a fault: a bit, a hash too many or too few, two swapped, a wrong length."""
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        yield [*proof[:at], flipped, *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], proof[at][:-1], *proof[at + 1 :]]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]
    yield [*proof, EMPTY_ROOT]
    yield [EMPTY_ROOT, *proof]


def test_published_roots() -> None:
    leaves = [leaf_hash(bytes.fromhex(each)) for each in VECTORS]
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of(leaves[:7]).hex() == "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_leaf_is_never_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


def test_roots_of_every_size() -> None:
    assert [root_of(LEAVES[:size]) for size in range(LIMIT + 1)] == ROOTS


@pytest.mark.parametrize("size", range(1, LIMIT + 1))
def test_inclusion_of_every_leaf(size: int) -> None:
    for index in range(size):
        proof = inclusion_proof(NODES, index, size)
        assert list(proof) == path(index, LEAVES[:size])
        assert verify_inclusion(index, size, LEAVES[index], ROOTS[size], proof)
        for false in mutants(proof):
            assert not verify_inclusion(index, size, LEAVES[index], ROOTS[size], false)
        assert not verify_inclusion(index, size, LEAVES[(index + 1) % LIMIT], ROOTS[size], proof)
        assert not verify_inclusion(index, size, LEAVES[index], ROOTS[size - 1], proof)
        others = [each for each in range(size) if each != index]
        assert not any(verify_inclusion(each, size, LEAVES[index], ROOTS[size], proof) for each in others)


@pytest.mark.parametrize("new", range(LIMIT + 1))
def test_consistency_of_every_pair(new: int) -> None:
    for old in range(new + 1):
        proof = consistency_proof(NODES, old, new)
        assert list(proof) == (subproof(old, LEAVES[:new], True) if old > 0 else [])
        assert verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
        for false in mutants(proof):
            assert not verify_consistency(old, new, ROOTS[old], ROOTS[new], false)
        forged = leaf_hash(b"forged")
        assert not verify_consistency(old, new, forged, ROOTS[new], proof)
        if old:  # any root extends the empty log
            assert not verify_consistency(old, new, ROOTS[old], forged, proof)


def test_a_rewritten_log_has_no_consistency_proof() -> None:
    rewritten = [leaf_hash(b"rewritten"), *LEAVES[1:]]
    for old in range(1, LIMIT):
        proof = consistency_proof(nodes_of(rewritten), old, LIMIT)
        assert not verify_consistency(old, LIMIT, ROOTS[old], root_of(rewritten), proof)


def test_a_log_never_shrinks() -> None:
    with pytest.raises(MerkleError, match="does not extend"):
        consistency_proof(NODES, 9, 8)
    assert not verify_consistency(9, 8, ROOTS[9], ROOTS[8], ())


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, MAX_SIZE + 1)])
def test_no_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(MerkleError):
        inclusion_proof(NODES, index, size)
    assert not verify_inclusion(index, size, LEAVES[0], ROOTS[4], ())


def test_the_empty_log_has_one_root() -> None:
    assert verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, ())
    assert not verify_consistency(0, 0, EMPTY_ROOT, LEAVES[0], ())
    assert not verify_consistency(0, 5, LEAVES[0], ROOTS[5], ())


def test_sizes_near_the_limit_cost_nothing() -> None:
    proof = [LEAVES[0]] * 63
    assert not verify_inclusion(MAX_SIZE - 1, MAX_SIZE, LEAVES[0], LEAVES[1], proof)
    assert not verify_consistency(MAX_SIZE - 1, MAX_SIZE, LEAVES[0], LEAVES[1], proof)


@given(st.lists(st.binary(max_size=40), max_size=200))
def test_the_frontier_is_the_tree(entries: list[bytes]) -> None:
    frontier = Frontier()
    leaves = [leaf_hash(each) for each in entries]
    for size, leaf in enumerate(leaves, start=1):
        frontier = Frontier.from_bytes(frontier.append(leaf).to_bytes())
        assert frontier.size == size
    assert frontier.root == mth(leaves)
    assert len(frontier.hashes) <= 64


def test_a_large_frontier_goes_on_where_it_was() -> None:
    rng = random.Random(7)
    frontier = Frontier(2**40 - 1, tuple(rng.randbytes(32) for _ in range(40)))
    appended = frontier.append(LEAVES[0])
    assert (appended.size, len(appended.hashes)) == (2**40, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        bytes(7) + b"\x01",  # one leaf, no hash
        bytes(8) + bytes(32),  # no leaf, one hash
        bytes(7) + b"\x01" + bytes(31),
        b"\xff" * 8 + bytes(32 * 64),  # beyond any tree
    ],
)
def test_a_damaged_frontier_is_refused(data: bytes) -> None:
    with pytest.raises(MerkleError):
        Frontier.from_bytes(data)
