"""Trees over leaf hashes held in memory: what tests compare stored and proven ones with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trust.merkle import Frontier, Nodes


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in order."""
    frontier = Frontier()
    for each in leaf_hashes:
        frontier = frontier.append(each)
    return frontier.root


def nodes_of(leaf_hashes: Sequence[bytes]) -> Nodes:
    """A node source."""

    def nodes(level: int, index: int) -> bytes:
        return root_of(leaf_hashes[index << level : (index + 1) << level])

    return nodes
