"""What a thief of an approver's key file has: an encrypted file, of a passphrase that is not short."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hsm.approver import new_key_file, read_key_file
from hsm.config import SetupError
from hsm.token.user_pin import UserPin

RIGHT = UserPin("twelve chars")


def test_a_short_passphrase_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="12 characters at least"):
        new_key_file(tmp_path / "ada.key", UserPin("eleven char"))
    assert not any(tmp_path.iterdir())


def test_the_file_is_its_owners_and_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "ada.key"
    public = new_key_file(path, RIGHT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    for wrong in ("twelve char", "twelve charS", "another passphrase"):
        with pytest.raises(SetupError, match="not a key that this passphrase opens"):
            read_key_file(path, UserPin(wrong))
    assert read_key_file(path, RIGHT).public == public


def test_a_key_is_never_written_over_anything(tmp_path: Path) -> None:
    path, link = tmp_path / "ada.key", tmp_path / "ben.key"
    before = new_key_file(path, RIGHT)
    link.symlink_to(path)
    for each in (path, link):
        with pytest.raises(SetupError, match="nothing is overwritten"):
            new_key_file(each, UserPin("another passphrase"))
    assert read_key_file(path, RIGHT).public == before


def test_the_file_is_still_there_after_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, too, is on the disk before its public half goes into a root: the directory is synced after the file."""
    synced: list[bool] = []

    def fsync(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", fsync)
    new_key_file(tmp_path / "ada.key", RIGHT)
    assert synced == [False, True]
