"""Acts on keys by their command: under which root they count, and what a crash at any point of them leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsm import config
from hsm.counters import Counters
from hsm.place import COUNTERS_FILE
from hsm.roots import public_keys
from tests.hsm.people_at_work import People, at_work
from trust.dsse import Envelope
from trust.minutes import Minutes, approved_minutes
from trust.root_file import parse
from trust.statement import read

pytestmark = pytest.mark.timeout(60)
PERFORM = ("act", "perform", "act.json", "--dir", "factory", "--root", "root.json", "--out", "end.json")
# Each program dies at one point of an act: what is patched is the step that it does not come back from.
DIES = {
    "after the key was destroyed": "from hsm import key_acts; key_acts.make_keys = dies",
    "after the token is as it should be": "from hsm import key_acts; key_acts._remember = dies",
    "before the act is used up": "from hsm.counters.documents import Documents; Documents.add_act = dies",
    "before public.json": "from hsm import key_acts; key_acts.replace_file = dies",
    "before the minutes": "import hsm.cli; sys.modules['hsm.cli.ceremony'].write_new = dies",
    "between private and public half": """
from hsm.token.pkcs11 import removing
real = removing._objects
class Public:
    destroy = dies
removing._objects = lambda s, p, kind: [Public()] if kind is removing._KINDS[1] else real(s, p, kind)
""",
}


def dies(people: People, where: str) -> None:
    program = (
        "import os, sys\n"
        "def dies(*_, **__):\n    os._exit(9)\n"
        f"{DIES[where]}\n"
        f"from hsm.cli import main\nsys.argv = {['station-signer', *PERFORM]}\nmain()\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", program], cwd=people.place, capture_output=True, text=True, timeout=30, check=False
    )
    assert died.returncode == 9, died.stderr
    assert not (people.place / "end.json").exists()


def minutes_of(people: People, root: str = "root.json") -> Minutes:
    """Approved by both officers, and complete."""
    people.approve("minutes", "end.json", "ada", "ben", root=root)
    wrapped = Envelope.from_json((people.place / "end.json").read_bytes().strip())
    return approved_minutes(wrapped, parse((people.place / root).read_bytes()))


def seen(people: People) -> Counters:
    """The factory signer's memory."""
    place = people.place / "factory"
    return Counters.open(place / COUNTERS_FILE, config.load(place).owner(public_keys(place)))


# ---- under which root


def test_an_act_under_an_older_root_than_the_newest_seen_is_refused(people: People) -> None:
    """An officer has left with version 2, which the signer has served: the act of their time is nothing any more."""
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"))
    people.make_root("second.json", previous="root.json")
    assert people.serves("second.json").code == 0
    done = people.perform()
    assert (done.code, "version 2 was taken up here already" in done.err) == (2, True), done.err
    assert "another version of the trust root" in people.perform(root="second.json").err
    assert people.serves("second.json").code == 0, "no key is gone"


def test_a_newer_root_is_taken_up_by_an_act_as_by_a_start(people: People) -> None:
    people.make_root("second.json", previous="root.json")
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"), root="second.json")
    assert people.perform(root="second.json").code == 0
    counters = seen(people)
    newest = counters.root_seen()
    counters.close()
    assert newest is not None and newest.version == 2


def test_elsewhere_than_in_demo_the_first_root_comes_by_its_fingerprint(short_dir: Path) -> None:
    people = at_work(short_dir, "plant-a")
    sha256 = people.make_root()
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"))
    done = people.perform()
    assert (done.code, f"{sha256}. Compare it" in done.err) == (2, True), done.err
    people.good("root", "import", "root.json", "--dir", "factory", "--sha256", sha256)
    assert people.perform().code == 0


def test_a_root_of_another_environment_is_refused_before_it_is_taken_up(people: People) -> None:
    text = (people.place / "root.toml").read_text()
    (people.place / "root.toml").write_text(text.replace('"demo"', '"plant-a"'))
    people.make_root("other.json")
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"), root="other.json")
    done = people.perform(root="other.json")
    assert (done.code, "of environment 'plant-a', this signer of 'demo'" in done.err) == (2, True), done.err
    assert people.serves("root.json").code == 0


def test_a_clock_that_was_set_back_revives_no_act(people: People) -> None:
    """Good for a day; the signer has seen a time signed two days later."""
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"))
    counters = seen(people)
    counters.see_time(int(time.time()) + 2 * 24 * 3600)
    counters.close()
    done = people.perform()
    assert (done.code, "the act was good until" in done.err) == (2, True), done.err
    assert people.serves("root.json").code == 0


def test_only_officers_among_its_approvers_stand_in_the_minutes(people: People) -> None:
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"), by=("ada", "pia", "ben"))
    assert people.perform().code == 0
    assert minutes_of(people).officers == ("ada", "ben")


# ---- crashes


@pytest.mark.parametrize("where", DIES)
def test_a_crash_while_a_key_is_replaced_is_gone_on_with(people: People, where: str) -> None:
    """The same act again does the rest: minutes that officers approve, and a signer that starts under the next root."""
    old = people.fingerprint("client")
    people.act("--replace-key", "client", "--fingerprint", old)
    dies(people, where)
    done = people.perform()
    assert done.code == 0, done.err
    new = people.fingerprint("client")
    said = minutes_of(people)
    assert (said.subject, old != new) == ("key-replaced", True)
    assert {each.purpose: each.fingerprint for each in said.keys}["client"] == new
    people.make_root("second.json", previous="root.json")
    started = people.serves("second.json")
    assert started.code == 0, started.err


@pytest.mark.parametrize("where", ["between private and public half", "before public.json"])
def test_a_crash_while_a_key_is_destroyed_is_gone_on_with(people: People, where: str) -> None:
    people.act("--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"))
    dies(people, where)
    done = people.perform()
    assert done.code == 0, done.err
    said = minutes_of(people)
    assert (said.subject, "pin" in {each.purpose for each in said.keys}) == ("key-destroyed", False)
    assert "pin" not in public_keys(people.place / "factory")


def test_half_a_key_that_the_act_does_not_name_stays(people: People) -> None:
    old = people.fingerprint("client")
    people.act("--replace-key", "client", "--fingerprint", old)
    dies(people, "between private and public half")
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("pin"), out="wrong.json")
    done = people.perform("wrong.json")
    assert (done.code, f"of which only the public half is there, is {old[:16]}" in done.err) == (2, True), done.err
    assert "1 objects named client before, 0 after" in people.perform().err


def test_after_a_crash_before_public_json_another_act_goes_on_too(people: People) -> None:
    log = people.fingerprint("log")
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"))
    dies(people, "before public.json")
    (people.place / "factory" / "public.json").unlink()
    people.act("--replace-key", "log", "--fingerprint", log, out="more.json")
    done = people.perform("more.json")
    assert (done.code, "public.json" in done.err) == (0, True), done.err
    assert people.fingerprint("log") != log
    people.make_root("second.json", previous="root.json")
    assert people.serves("second.json").code == 0


def test_public_json_is_not_made_for_keys_that_are_not_the_counters(people: People) -> None:
    """The counters of another token: nothing is written, nothing is done."""
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"))
    people.good("init", "--dir", "other", "--role", "factory", "--name", "st-01")
    before = (people.place / "factory" / "public.json").read_bytes()
    (people.place / "other" / COUNTERS_FILE).replace(people.place / "factory" / COUNTERS_FILE)
    done = people.perform()
    assert (done.code, "use its own" in done.err) == (2, True), done.err
    assert (people.place / "factory" / "public.json").read_bytes() == before


# ---- the minutes' file


@pytest.mark.parametrize("out", ["end.json", "link.json", "missing/end.json"])
def test_a_file_that_cannot_be_made_is_found_before_the_act(people: People, out: str) -> None:
    old = people.fingerprint("client")
    people.act("--replace-key", "client", "--fingerprint", old)
    (people.place / "end.json").write_text("something")
    (people.place / "link.json").symlink_to("nowhere")
    done = people.perform(out=out)
    assert (done.code, "choose another file" in done.err) == (2, True), done.err
    assert people.fingerprint("client") == old
    assert (people.place / "end.json").read_text() == "something"
    assert people.perform(out="good.json").code == 0, "the act is not used up"


def test_the_minutes_of_an_act_are_given_again_as_they_were(people: People) -> None:
    """Also when the next root is in force, and the act long over."""
    people.act("--replace-key", "client", "--fingerprint", people.fingerprint("client"))
    assert people.perform(out="first.json").code == 0
    keys = (people.place / "factory" / "public.json").read_bytes()
    people.make_root("second.json", previous="root.json")
    assert people.serves("second.json").code == 0
    counters = seen(people)
    counters.see_time(int(time.time()) + 30 * 24 * 3600)
    counters.close()
    done = people.perform(root="second.json")
    assert (done.code, "done before; its minutes" in done.err) == (0, True), done.err
    assert (people.place / "end.json").read_bytes() == (people.place / "first.json").read_bytes()
    assert (people.place / "factory" / "public.json").read_bytes() == keys
    assert read(Envelope.from_json((people.place / "end.json").read_bytes().strip()), Minutes).act_sha256
    assert minutes_of(people, "second.json").officers == ("ada", "ben")
