"""The first of several values that is not what it should be, as a sentence. Pure; never says what follows from it."""

from __future__ import annotations

from collections.abc import Iterable


def differing(what: str, rows: Iterable[tuple[str, object, object]]) -> str | None:
    """None if each row's second and third entry are equal, else the first row that is not: its name, found, wanted."""
    for name, found, wanted in rows:
        if found != wanted:
            return f"{what}: {name} is {found!r}, expected {wanted!r}"
    return None
