"""What people are asked on a terminal, what is said where there is none, and that a no leaves everything as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hsm.approver import new_key_file, read_key_file
from hsm.token.user_pin import UserPin
from tests import warm
from tests.cli.terminal import OnTerminal
from tests.hsm.people_at_work import People, at_work

pytestmark = [pytest.mark.timeout(90), pytest.mark.xdist_group("prompts")]
PASSPHRASE = "twelve chars and more"
NEW = ("approver", "new", "--out", "ada.key")


def on_terminal(place: Path, *words: str) -> OnTerminal:
    return OnTerminal([sys.executable, "-m", "hsm", *words], columns=200, cwd=place)


def elsewhere(place: Path, *words: str) -> tuple[int, str]:
    """Where stdin is no terminal, and none is to be had."""
    command = [sys.executable, "-m", "hsm", *words]
    done = warm.run(command, cwd=place, timeout=30)
    return done.returncode, done.stderr


def test_a_new_passphrase_is_asked_for_twice_and_its_length_told_before(tmp_path: Path) -> None:
    with on_terminal(tmp_path, *NEW) as asked:
        asked.wait_until(lambda text: "New passphrase (12 characters at least):" in text)
        asked.press(f"{PASSPHRASE}\n")
        asked.wait_until(lambda text: "The same again:" in text)
        asked.press("twelve chars and mist\n")
        asked.wait_until(lambda text: text.count("New passphrase") == 2)
        assert not (tmp_path / "ada.key").exists(), "mistyped once, it would open nothing"
        for _ in range(2):
            asked.press(f"{PASSPHRASE}\n")
            count = asked.screen.text.count(":")
            asked.wait_until(lambda text, before=count: text.count(":") > before or "key " in text)  # type: ignore[misc]
        assert asked.end() == 0
    assert read_key_file(tmp_path / "ada.key", UserPin(PASSPHRASE)).public.fingerprint in asked.screen.text


def test_a_file_that_is_there_is_found_before_anybody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "ada.key").write_text("something")
    with on_terminal(tmp_path, *NEW) as told:
        assert told.end() == 2
    assert "nothing is overwritten" in told.screen.text and "passphrase" not in told.screen.text.lower()
    (tmp_path / "ada.pem").write_text("something")
    with on_terminal(tmp_path, "approver", "new", "--out", "new.key", "--public", "ada.pem") as told:
        assert told.end() == 2
    assert "ada.pem" in told.screen.text and not (tmp_path / "new.key").exists()


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_whoever_gives_up_is_told_that_nothing_was_done(tmp_path: Path, key: str) -> None:
    with on_terminal(tmp_path, *NEW) as asked:
        asked.wait_until(lambda text: "New passphrase" in text)
        asked.press(key)
        assert asked.end() == 130
    assert "nothing was done" in asked.screen.text
    assert not any(tmp_path.iterdir())


def test_no_terminal_is_one_clear_sentence(tmp_path: Path) -> None:
    code, said = elsewhere(tmp_path, *NEW)
    assert (code, len(said.splitlines())) == (2, 1), said
    assert "this is no terminal: give --secret file:PATH or fd:N" in said


def test_the_public_half_goes_to_a_file_too_and_is_printed_again(tmp_path: Path) -> None:
    secret = tmp_path / "ada.pp"
    secret.touch(0o600)
    secret.write_text(PASSPHRASE)
    public = new_key_file(tmp_path / "ada.key", UserPin(PASSPHRASE)).to_pem()
    command = [sys.executable, "-m", "hsm", "approver", "show", "ada.key", "--secret", f"file:{secret}"]
    done = warm.run([*command, "--public", "ada.pem"], cwd=tmp_path, timeout=30, check=True)
    assert done.stdout == (tmp_path / "ada.pem").read_text() == public
    again = warm.run([*command, "--public", "ada.pem"], cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, ""), "nothing is overwritten"


# ---- approving


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with TemporaryDirectory(prefix="ks-") as place:
        made = at_work(Path(place))
        made.make_root()
        made.good("root", "new", "--from", "root.toml", "--previous", "root.json", "--out", "next.json")
        yield made


APPROVE = ("root", "approve", "next.json", "--key", "ada.key", "--secret", "file:ada.pp")


@pytest.mark.parametrize("key", ["n\n", "\n", "\x03", "\x04"], ids=["no", "enter", "Ctrl-C", "Ctrl-D"])
def test_who_does_not_agree_changes_nothing(people: People, key: str) -> None:
    before = (people.place / "next.json").read_bytes()
    with on_terminal(people.place, *APPROVE) as asked:
        asked.wait_until(lambda text: "Approve exactly this?" in text)
        asked.press(key)
        assert asked.end() == 130
    assert "nothing was done" in asked.screen.text
    assert (people.place / "next.json").read_bytes() == before


def test_who_cannot_be_asked_is_told_of_yes(people: People) -> None:
    code, said = elsewhere(people.place, *APPROVE)
    assert (code, "this is no terminal: give --yes" in said.splitlines()[-1]) == (2, True), said
