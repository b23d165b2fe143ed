"""Who may not use a signer's socket is told so, and who may: by the closed directory, and by the signer's own list."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.client import ReceiptClient, SignerClient
from hsm.door import who_may
from hsm.messages import refused, result
from hsm.signer import SignerError, SignerForbiddenError
from trust.codes import Code

NOBODY = 65534


@pytest.fixture
def door() -> Iterator[Path]:
    """A socket in a directory that only its owner may enter."""
    place = Path(tempfile.mkdtemp(prefix="ks-"))
    (place / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(place / "run" / "s"))
        place.chmod(0o755)
        yield place / "run" / "s"
    shutil.rmtree(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_user_is_told_who_may(door: Path) -> None:
    os.seteuid(NOBODY)
    try:
        for ask in (lambda: asyncio.run(SignerClient(door).status()), ReceiptClient(door).status):
            with pytest.raises(SignerForbiddenError) as found:
                ask()
    finally:
        os.seteuid(0)
    told = str(found.value)
    owner, group = pwd.getpwuid(0).pw_name, grp.getgrgid(door.parent.stat().st_gid).gr_name
    assert f"(id {NOBODY}), may not use its socket: user {owner} and group {group} may, by {door.parent}." in told
    assert "allowed_uids" in told and "Start" not in told


def test_a_place_that_is_not_there_is_the_nearest_one_that_is(tmp_path: Path) -> None:
    assert f"may, by {tmp_path}." in who_may(tmp_path / "not" / "there")


def test_who_is_not_on_the_signers_list_may_not_either() -> None:
    with pytest.raises(SignerForbiddenError, match="not in allowed_uids"):
        result(refused(0, Code.NOT_AUTHORISED, "id 7 is not in allowed_uids"), type(None))
    with pytest.raises(SignerError, match="this verb"):
        result(refused(3, Code.NOT_AUTHORISED, "this verb is the cloud's"), type(None))
