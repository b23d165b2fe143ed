"""The registry's status says whether it could sign a receipt now; asking makes no signature, and asks the signer seldom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsm.signer import SignerUnavailableError
from registry.signing import Signing
from tests.registry.make import SoftwareReceiptSigner, World, world


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def made(tmp_path: Path) -> World:
    return world()


def test_a_signer_that_can_sign_is_no_trouble_and_signs_nothing(made: World) -> None:
    signer = made.signer()
    assert Signing(signer, made.trusted).trouble() == ""
    assert signer.signatures == 0


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"trouble": "the token is away"}, "the token is away"),
        ({"root_sha256": "cd" * 32, "root_version": 2}, "serves trust root version 2, cdcd"),
        ({"keys": {}}, "receipt key is not the trust root's"),
    ],
)
def test_a_signer_that_cannot(made: World, says: dict[str, Any], told: str) -> None:
    signer = made.signer()
    signer.says = says
    assert told in Signing(signer, made.trusted).trouble()


def test_a_dead_signer_is_told_of_and_is_asked_once_in_a_while(made: World) -> None:
    signer, clock, asked = made.signer(), Clock(), []

    class Counted(SoftwareReceiptSigner):
        def status(self) -> Any:
            asked.append(clock.now)
            return signer.status()

    signing = Signing(Counted(made.trusted, signer.key), made.trusted, monotonic=clock)
    assert signing.trouble() == ""
    signer.fault = SignerUnavailableError("no answer from the signer at /s: it is not running")
    assert [signing.trouble() for _ in range(50)] == [""] * 50
    clock.now += 2
    assert signing.trouble() == str(signer.fault)
    assert len(asked) == 2
