"""What the registry gives a person's sign-in at a machine is kept for its owner alone, and stops nobody when it is gone."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from station import known_here
from station.cloud.person import Person


class Registry:
    """Takes every sign-in, and gives a machine that shows nothing a token."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        if method == "DELETE":
            return b"{}"
        assert path == "/v1/sessions"
        said = json.loads(body or b"")
        self.shown.append(said["device"])
        return json.dumps({"token": "t", "device": said["device"] or f"device-of-{said['user_id']}"}).encode()


def sign_in(registry: Registry, ledger: Path, user_id: str) -> None:
    async def once() -> None:
        person = Person()
        known = known_here.shown(ledger, user_id)
        async with person.signed_in(registry, user_id, "a password", "123456", known):
            known_here.keep(ledger, user_id, person.device)

    asyncio.run(once())


def test_the_next_sign_in_shows_what_the_last_one_was_given(tmp_path: Path) -> None:
    registry, ledger = Registry(), tmp_path / "ledger.db"
    for user_id in ("ada", "ben", "ada", "ben"):
        sign_in(registry, ledger, user_id)
    assert registry.shown == ["", "", "device-of-ada", "device-of-ben"]
    kept = known_here.beside(ledger)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_bytes()) == {"ada": "device-of-ada", "ben": "device-of-ben"}, "and no password, no code"


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff"])
def test_a_spoilt_file_is_made_anew(tmp_path: Path, text: bytes) -> None:
    registry, ledger = Registry(), tmp_path / "ledger.db"
    known_here.beside(ledger).write_bytes(text)
    for _ in range(2):
        sign_in(registry, ledger, "ada")
    assert registry.shown == ["", "device-of-ada"]


def test_where_nothing_can_be_written_one_signs_in_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, ledger = Registry(), tmp_path / "none" / "ledger.db"
    sign_in(registry, ledger, "ada")
    assert "cannot be written" in caplog.text


def test_it_does_not_grow(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    for number in range(103):
        known_here.keep(ledger, f"user-{number}", "token")
    assert (known_here.shown(ledger, "user-2"), known_here.shown(ledger, "user-3")) == ("", "token")
