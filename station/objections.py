"""What the registry objected to, kept beside the ledger so that `station check` can show it later.

A note for people: nothing is decided by it, and a file that is lost or cannot be written loses no statement.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

import given
from station.whole_file import write_whole
from trust.printable import plainly, printable

_LOG = logging.getLogger(__name__)
Objected = Callable[[str, str], None]
_MOST, _LONGEST = 200, 500


def beside(database: Path) -> Path:
    """The file that belongs to a ledger."""
    return database.with_name(database.name + ".objected")


def unheard(_statement_sha256: str, _why: str) -> None:
    """Nobody keeps it."""


class Objections:
    """The newest words of the registry about a statement, by the statement's SHA-256."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = dict(read_objections(path))

    def add(self, statement_sha256: str, why: str) -> None:
        """The registry has answered this statement with no receipt."""
        why = printable(why, _LONGEST)
        if self._told.get(statement_sha256) == why:
            return
        self._told.pop(statement_sha256, None)
        self._told[statement_sha256] = why
        kept = dict(list(self._told.items())[-_MOST:])
        try:
            write_whole(self._path, msgspec.json.encode(kept))
        except OSError as error:
            _LOG.warning("%s: %s", self._path, plainly(error))


def read_objections(path: Path) -> Mapping[str, str]:
    """What was kept; nothing where there is no such file, or it cannot be read."""
    try:
        return msgspec.json.decode(given.read(path), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}
