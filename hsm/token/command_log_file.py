"""Drained log entries in a file: 32 bytes each, as the device gave them, only ever appended. Never rewrites one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hsm.token.command_log import ENTRY_BYTES, CommandLogError, LogEntry
from trust.printable import plainly

_ONLY: int = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class CommandLogFile:
    """A `hsm.token.command_log.LogStore`. One process at a time."""

    def __init__(self, path: Path) -> None:
        """Make the file (0600) if it is not there; CommandLogError."""
        self._path = path
        try:
            os.close(os.open(path, _ONLY | os.O_CREAT, 0o600))
            _sync_directory(path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def last(self) -> LogEntry | None:
        """The newest entry kept; CommandLogError."""
        try:
            with self._path.open("rb") as file:
                whole = _whole(file.fileno())
                file.seek(max(0, whole - ENTRY_BYTES))
                return LogEntry.parse(file.read(ENTRY_BYTES)) if whole else None
        except OSError as error:
            raise self._failed(error) from error

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Durable on return; CommandLogError. A torn entry of a crash before, never acknowledged, is written over."""
        raw = b"".join(each.raw for each in entries)
        try:
            with os.fdopen(os.open(self._path, _ONLY), "r+b") as file:
                file.seek(_whole(file.fileno()))
                file.write(raw)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def entries(self) -> Iterator[LogEntry]:
        """All entries kept, oldest first; CommandLogError."""
        try:
            with self._path.open("rb") as file:
                while len(raw := file.read(ENTRY_BYTES)) == ENTRY_BYTES:
                    yield LogEntry.parse(raw)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CommandLogError:
        return CommandLogError(
            f"{self._path}: {plainly(error)}: the command log cannot be kept; free space, look at modes"
        )


def _whole(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    return size - size % ENTRY_BYTES


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
