"""Minutes of a key without which the signer cannot serve: they are on record, and covered when somebody signs again."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from station.exits import Exit
from tests.cli.orderkit import Desk, open_desk, serving
from tests.docs.pages import page

pytestmark = [pytest.mark.xdist_group("orders"), pytest.mark.timeout(120)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk whose signer has worked, and is gone now."""
    with open_desk(tmp_path, page("config.example.toml")) as opened:
        assert opened.station("order", "import", opened.order("first", "pia", "quinn")).code == 0
    return opened


def fingerprint(desk: Desk, purpose: str) -> str:
    keys = json.loads((desk.place / "s" / "signer-factory" / "public.json").read_text())
    return hashlib.sha256(base64.b64decode(keys[purpose])).hexdigest()


def destroyed(desk: Desk, purpose: str, *by: str) -> Path:
    """The minutes of this key's end, approved by these officers."""
    act = desk.act("end", "ada", "ben", words=("--destroy-key", purpose, "--fingerprint", fingerprint(desk, purpose)))
    directory, file = desk.place / "s" / "signer-factory", desk.place / "end.minutes"
    done = desk.signer("act", "perform", act, "--dir", directory, "--root", desk.root, "--out", file)
    assert done.code == 0, done.err
    for person in by:
        told = desk.approve("minutes", file, person)
        assert told.code == 0, told.err
    return file


def test_the_end_of_a_key_is_on_record_although_its_signer_answers_no_more(desk: Desk) -> None:
    file = destroyed(desk, "account", "ada", "ben")
    done = desk.station("minutes", file)
    assert (done.code, done.out) == (0, "on record: key-destroyed of signer st-01, approved by ada, ben\n"), done
    assert "no checkpoint covers them yet" in done.err and "it is not running" in done.err
    assert desk.leaves().count("minutes") == 1
    assert desk.station("minutes", file).code == 0
    assert desk.leaves().count("minutes") == 1, "the same again changes nothing"
    verified = desk.station("ledger", "verify")
    assert (verified.code, "(3 not covered yet)" in verified.out) == (0, True), verified


def test_what_was_kept_is_covered_by_the_same_command_when_the_signer_answers(desk: Desk) -> None:
    """Of a ceremony, whose signer was only not started yet."""
    directory, file = desk.place / "s" / "signer-factory", desk.place / "ceremony.minutes"
    sha256 = desk.signer("root", "show", desk.root).out.split()[4]
    officers = ("--officer", "ada", "--officer", "ben")
    words = ("--dir", directory, "--root", desk.root, "--sha256", sha256, *officers, "--out", file)
    assert desk.signer("ceremony", *words).code == 0
    for person in ("ada", "ben"):
        assert desk.approve("minutes", file, person).code == 0
    assert "no checkpoint covers them yet" in desk.station("minutes", file).err
    with serving(desk):
        done = desk.station("minutes", file)
        assert (done.code, "checkpoint" in done.err) == (0, False), done
        verified = desk.station("ledger", "verify")
    assert (verified.code, "not covered" in verified.out) == (0, False), verified
    assert desk.leaves().count("minutes") == 1


def test_minutes_that_are_not_complete_are_refused_as_ever(desk: Desk) -> None:
    done = desk.station("minutes", destroyed(desk, "account", "ada"))
    assert (done.code, done.out) == (Exit.USAGE, ""), done
    assert "minutes" not in desk.leaves()


def test_no_ledger_is_begun_without_the_signers_word(desk: Desk) -> None:
    file = destroyed(desk, "account", "ada", "ben")
    ledger = desk.place / "s" / "station" / "ledger.db"
    for each in ledger.parent.glob("ledger.db*"):
        each.unlink()
    done = desk.station("minutes", file)
    assert done.code == Exit.LINE_STOPPED and "The signer does not answer" in done.err, done
    assert not ledger.exists()
