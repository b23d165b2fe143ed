"""A ceremony by its commands: what it looks at, what it refuses, and the minutes that only those who were there approve."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import warm
from tests.hsm.people_at_work import Done, People
from trust.dsse import Envelope
from trust.minutes import Minutes, approved_minutes
from trust.root_file import parse
from trust.statement import StatementError, read

pytestmark = pytest.mark.timeout(60)


def sha256(people: People, root: str = "root.json") -> str:
    return parse((people.place / root).read_bytes()).sha256


def ceremony(people: People, *officers: str, fingerprint: str | None = None, out: str = "minutes.json") -> Done:
    named = [word for each in officers for word in ("--officer", each)]
    words = ["--dir", "factory", "--root", "root.json", "--sha256", fingerprint or sha256(people), *named, "--out", out]
    return people.signer("ceremony", *words)


def test_the_whole_checklist_and_its_minutes(people: People) -> None:
    done = ceremony(people, "ada", "ben")
    assert done.code == 0, done.err
    wrapped = Envelope.from_json((people.place / "minutes.json").read_bytes().strip())
    said = read(wrapped, Minutes)
    assert {each.purpose: each.fingerprint for each in said.keys} == {
        purpose: people.fingerprint(purpose) for purpose in ("account", "client", "completion", "log", "pin")
    }
    for each in said.keys:
        assert {"CKA_SENSITIVE true", "CKA_EXTRACTABLE false", "CKA_LOCAL true"} <= set(each.attributes)
    assert [each.what for each in said.steps][-1] == "self-test"
    trusted = parse((people.place / "root.json").read_bytes())
    with pytest.raises(StatementError):
        approved_minutes(wrapped, trusted)
    people.approve("minutes", "minutes.json", "ada")
    assert people.signer("minutes", "show", "minutes.json", "--root", "root.json").code == 2
    people.approve("minutes", "minutes.json", "ben")
    assert "approved by       ben (officer)" in people.good("minutes", "show", "minutes.json", "--root", "root.json")


def test_its_signatures_are_counted_like_every_other(people: People) -> None:
    """Four keys sign, of five: the log's key signs notes and nothing else."""
    ceremony(people, "ada", "ben")
    again = ceremony(people, "ada", "ben", out="second.json")
    assert "0 pin statements, 4 signatures so far" in again.err


@pytest.mark.parametrize(
    ("officers", "said"),
    [
        (("ada",), "only 1 named: 2 different ones"),
        (("ada", "ada"), "only 1 named: 2 different ones"),
        (("ada", "pia"), "pia is no officer of this root"),
        (("ada", "eve"), "eve is no officer of this root"),
    ],
)
def test_two_different_officers_of_the_root_are_there(people: People, officers: tuple[str, ...], said: str) -> None:
    done = ceremony(people, *officers)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (people.place / "minutes.json").exists()


def test_another_root_than_the_one_that_officers_know_is_refused(people: People) -> None:
    done = ceremony(people, "ada", "ben", fingerprint="ab" * 32)
    assert (done.code, "the root's fingerprint is" in done.err) == (2, True)


def test_a_root_that_is_not_approved_is_refused(people: People) -> None:
    people.good("root", "new", "--from", "root.toml", "--out", "draft.json")
    (people.place / "root.json").write_bytes((people.place / "draft.json").read_bytes())
    done = ceremony(people, "ada", "ben")
    assert (done.code, "not approved" in done.err) == (2, True)


def test_a_signer_that_serves_is_left_alone(people: People) -> None:
    command = [sys.executable, "-m", "hsm", "serve", "--dir", "factory", "--root", "root.json"]
    with warm.start(command, cwd=people.place, stderr=subprocess.PIPE) as serving:
        assert serving.stderr is not None
        while not serving.stderr.readline().startswith("ready"):
            pass
        done = ceremony(people, "ada", "ben")
        serving.terminate()
    assert (done.code, "another process serves" in done.err) == (2, True)


def test_a_key_is_replaced_and_the_next_root_names_the_new_one(people: People) -> None:
    old = people.fingerprint("client")
    people.act("--replace-key", "client", "--fingerprint", old)
    done = people.perform()
    assert done.code == 0, done.err
    assert "2 objects named client before, 0 after" in done.err
    assert "refused: ObjectHandleInvalid" in done.err
    assert people.fingerprint("client") != old
    again = people.perform(out="more.json")
    assert (again.code, "done before" in again.err) == (0, True), "the same minutes, and nothing is done"
    assert (people.place / "more.json").read_bytes() == (people.place / "end.json").read_bytes()
    assert "other keys than this token's for client" in people.serves("root.json").err
    people.make_root("second.json", previous="root.json")
    assert people.serves("second.json").code == 0


def test_a_key_is_destroyed_for_good(people: People) -> None:
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"))
    assert people.perform().code == 0
    said = read(Envelope.from_json((people.place / "end.json").read_bytes().strip()), Minutes)
    assert (said.subject, "pin" in {each.purpose for each in said.keys}) == ("key-destroyed", False)
    assert "has no key for pin" in people.serves("root.json").err


def test_no_other_key_than_the_one_named_is_destroyed(people: People) -> None:
    before = (people.place / "factory" / "public.json").read_bytes()
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("completion"))
    done = people.perform()
    assert (done.code, "not the one that the act names" in done.err) == (2, True)
    assert (people.place / "factory" / "public.json").read_bytes() == before
    assert people.serves("root.json").code == 0


@pytest.mark.parametrize("by", [(), ("ada",), ("ada", "pia"), ("pia", "quinn")])
def test_two_officers_or_nothing(people: People, by: tuple[str, ...]) -> None:
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"), by=by)
    done = people.perform()
    assert (done.code, "2 are wanted" in done.err) == (2, True), done.err
    assert people.serves("root.json").code == 0
