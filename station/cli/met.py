"""Counts of live handshakes in words, for the commands that count units. Pure; never leaves a waived one out."""

from __future__ import annotations


def handshakes(*, proved: int, waived: int, not_asked: int) -> str:
    """What became of the handshakes of units that passed; empty where there was none of these."""
    said = ((proved, "proved"), (waived, "waived"), (not_asked, "not asked"))
    counts = ", ".join(f"{count} {word}" for count, word in said if count)
    return f"handshakes: {counts}" if counts else ""
