"""A stored row that is not what it should be, by table and key. Never says who did it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: in which table, in the row of which key, and how.

    `due`: something that the registry's own signer may still owe, as after a crash.
    """

    table: str
    key: str
    text: str
    due: bool = False

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.text}"


def differing(table: str, key: str, values: Iterable[tuple[str, object, object]]) -> list[Finding]:
    """A finding for each column whose value is not the one wanted."""
    return [
        Finding(table, key, f"{column} is {_short(found)}, what it is about says {_short(wanted)}")
        for column, found, wanted in values
        if found != wanted
    ]


def _short(value: object) -> str:
    if isinstance(value, bytes):
        value = value.hex()
    return "NULL" if value is None else f"{str(value)[:40]!r}"
