"""The Merkle tree of RFC 6962 §2.1 (RFC 9162 keeps the same tree): hashes, roots, proofs, and the state of an appender.

Pure mathematics over SHA-256. Never reads a log, never knows what a leaf says. Verifiers take any input and answer
yes or no; they check a proof's length before they hash anything, so a hostile proof costs nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()

Nodes = Callable[[int, int], bytes]
"""`nodes(level, index)`: root of the full subtree over leaves `index·2^level` to `(index+1)·2^level - 1`."""


class MerkleError(ValueError):
    """A size, index or stored state that no tree has; the text says which."""


class _Side(Enum):
    LEFT = "left"
    RIGHT = "right"


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one log entry: SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that an appender must remember: the tree's size and the roots of its full subtrees, largest first (≤ 63).

    `append` gives a new value; nothing is ever changed in place, so a rolled-back transaction leaves no trace here.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a state whose number of hashes does not fit its size: one for each bit set."""
        if not 0 <= self.size <= MAX_SIZE:
            raise MerkleError(f"tree size {self.size}: expected 0 to 2^63 - 1")
        if len(self.hashes) != self.size.bit_count() or any(len(each) != HASH_BYTES for each in self.hashes):
            raise MerkleError(
                f"frontier of size {self.size} needs {self.size.bit_count()} hashes of {HASH_BYTES} bytes"
            )

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf hash: merges as many full subtrees as the size has trailing one bits."""
        stack = [*self.hashes, leaf]
        size = self.size
        while size & 1:
            right = stack.pop()
            stack[-1] = node_hash(stack[-1], right)
            size >>= 1
        return Frontier(self.size + 1, tuple(stack))

    @property
    def root(self) -> bytes:
        """The tree's root hash."""
        if not self.hashes:
            return EMPTY_ROOT
        *rest, root = self.hashes
        for left in reversed(rest):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        """8 bytes of size (big endian), then the hashes."""
        return self.size.to_bytes(8) + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From `to_bytes`; MerkleError for anything else."""
        body = data[8:]
        if len(data) < 8 or len(body) % HASH_BYTES:  # noqa: PLR2004 - the size field of to_bytes
            raise MerkleError(f"frontier of {len(data)} bytes is cut short")
        hashes = tuple(body[at : at + HASH_BYTES] for at in range(0, len(body), HASH_BYTES))
        return cls(int.from_bytes(data[:8]), hashes)


def inclusion_proof(nodes: Nodes, index: int, size: int) -> tuple[bytes, ...]:
    """Audit path of a leaf (RFC 6962 §2.1.1), the leaf's sibling first; MerkleError unless 0 ≤ index < size."""
    if not 0 <= index < size <= MAX_SIZE:
        raise MerkleError(f"no leaf {index} in a tree of {size}")
    return _siblings(nodes, index, 1, size)


def consistency_proof(nodes: Nodes, old_size: int, new_size: int) -> tuple[bytes, ...]:
    """Proof that the tree of `new_size` extends that of `old_size` (RFC 6962 §2.1.2); empty from 0 and if equal."""
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise MerkleError(f"a log of {new_size} does not extend one of {old_size}")
    if old_size in {0, new_size}:
        return ()
    lowest = old_size & -old_size  # the old tree's last full subtree; the proof begins there
    siblings = _siblings(nodes, old_size - lowest, lowest, new_size)
    return siblings if lowest == old_size else (_subtree(nodes, old_size - lowest, old_size), *siblings)


def verify_inclusion(index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the leaf hash stands at `index` of the tree with this size and root."""
    if not 0 <= index < size <= MAX_SIZE or not _well_formed(leaf, root, *proof):
        return False
    sides = _sides(index, 1, size)
    if len(proof) != len(sides):
        return False
    for side, sibling in zip(sides, proof, strict=True):
        leaf = node_hash(sibling, leaf) if side is _Side.LEFT else node_hash(leaf, sibling)
    return hmac.compare_digest(leaf, root)


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the new tree extends the old one; from size 0 only the empty root and proof do."""
    if not 0 <= old_size <= new_size <= MAX_SIZE or not _well_formed(old_root, new_root, *proof):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT and (new_size > 0 or new_root == EMPTY_ROOT)
    if old_size == new_size:
        return not proof and hmac.compare_digest(old_root, new_root)
    lowest = old_size & -old_size
    sides = _sides(old_size - lowest, lowest, new_size)
    path = list(proof) if lowest != old_size else [old_root, *proof]
    if len(path) != len(sides) + 1:
        return False
    old = new = path[0]
    for side, sibling in zip(sides, path[1:], strict=True):
        new = node_hash(sibling, new) if side is _Side.LEFT else node_hash(new, sibling)
        old = node_hash(sibling, old) if side is _Side.LEFT else old
    return hmac.compare_digest(old, old_root) and hmac.compare_digest(new, new_root)


def _well_formed(*hashes: bytes) -> bool:
    return all(len(each) == HASH_BYTES for each in hashes)


def _split(size: int) -> int:
    """Largest power of two below `size` (size ≥ 2)."""
    return 1 << (size - 1).bit_length() - 1


def _descent(start: int, width: int, size: int) -> list[tuple[_Side, int, int]]:
    """From the root down to the full subtree [start, start + width): each sibling's side and its range."""
    steps: list[tuple[_Side, int, int]] = []
    low, high = 0, size
    while high - low > width:
        middle = low + _split(high - low)
        if start < middle:
            steps.append((_Side.RIGHT, middle, high))
            high = middle
        else:
            steps.append((_Side.LEFT, low, middle))
            low = middle
    return steps


def _sides(start: int, width: int, size: int) -> list[_Side]:
    return [side for side, _, _ in reversed(_descent(start, width, size))]


def _siblings(nodes: Nodes, start: int, width: int, size: int) -> tuple[bytes, ...]:
    return tuple(_subtree(nodes, low, high) for _, low, high in reversed(_descent(start, width, size)))


def _subtree(nodes: Nodes, low: int, high: int) -> bytes:
    """Root over leaves [low, high), where low is a multiple of the range's largest power of two."""
    width = high - low
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return nodes(level, low >> level)
    middle = low + _split(width)
    return node_hash(_subtree(nodes, low, middle), _subtree(nodes, middle, high))
