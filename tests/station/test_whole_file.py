"""What is kept beside the ledger is the old file or the new one, whatever fails on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from station.objections import Objections, read_objections
from station.whole_file import write_whole


def test_a_disk_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "station.db.objected"
    told = Objections(path)
    told.add("ab" * 32, "first")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told.add("cd" * 32, "second")  # a note for people: it stops nobody
    assert read_objections(path) == {"ab" * 32: "first"}
    assert list(tmp_path.iterdir()) == [path], "and nothing else is left behind"
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"{}")
    monkeypatch.undo()
    told.add("cd" * 32, "third")
    assert read_objections(path) == {"ab" * 32: "first", "cd" * 32: "third"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_station_that_dies_while_it_writes_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the file's own bytes are never touched, so a part of the new ones is nobody's to read."""
    path = tmp_path / "kept"
    write_whole(path, b"old")

    def dies(_: Path, __: Path) -> None:
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new, and longer")
    assert path.read_bytes() == b"old"
