"""What the commands for people say comes next is true: who counts, what is missing, and who may not approve at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.hsm.people_at_work import Done, People, at_work

pytestmark = [pytest.mark.timeout(90), pytest.mark.xdist_group("people")]
ROOT = ("--root", "root.json")


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with TemporaryDirectory(prefix="ks-") as place:
        made = at_work(Path(place))
        made.make_root()
        yield made


def says(people: People, what: str, file: str, person: str) -> Done:
    root = [] if what == "root" else ROOT
    return people.signer(what, "approve", file, *root, *people.key(person))


def key_act(people: People, out: str) -> str:
    words = ["--signer", "st-01", "--reason", "for a test", *ROOT, "--out", out]
    people.good("act", "new", *words, "--destroy-key", "pin", "--fingerprint", people.fingerprint("pin"))
    return out


# ---- what is missing


def test_an_act_on_a_key_needs_two_officers_and_is_done_by_the_signer(people: People) -> None:
    file = key_act(people, "key.act")
    one = says(people, "act", file, "ada")
    assert "approved by ada; still missing: 1 more officer; next: station-signer act approve" in one.err, one.err
    two = says(people, "act", file, "ben")
    assert "approved by ada, ben: enough" in two.err or "approved by ben, ada: enough" in two.err, two.err
    assert "next: stop signer st-01, then station-signer act perform key.act" in two.err
    assert "station act" not in two.err


def test_another_act_is_done_by_the_station(people: People) -> None:
    people.act("--lift-stop", "1", by=("ada",), out="stop.act")
    assert "next: station act stop.act, at station st-01" in says(people, "act", "stop.act", "ben").err


def test_a_roots_version_needs_officers_of_both_and_says_of_which(people: People) -> None:
    people.good("root", "new", "--from", "root.toml", "--previous", "root.json", "--out", "next.json")
    one = says(people, "root", "next.json", "ada")
    assert "still missing: 1 more officer of version 1 and 1 more officer of version 2" in one.err, one.err
    assert "enough; next: put it in the old one's place" in says(people, "root", "next.json", "ben").err


def test_minutes_need_those_whom_they_name(people: People) -> None:
    sha256 = people.signer("root", "show", "root.json").out.split()[4]
    officers = ["--officer", "ada", "--officer", "ben"]
    people.good("ceremony", "--dir", "factory", *ROOT, "--sha256", sha256, *officers, "--out", "ceremony.json")
    stranger = says(people, "minutes", "ceremony.json", "pia")
    assert (stranger.code, "pia's key, whose role is product-owner" in stranger.err) == (2, True), stranger.err
    assert "still missing: ben; next: station-signer minutes" in says(people, "minutes", "ceremony.json", "ada").err
    assert "next: station minutes ceremony.json" in says(people, "minutes", "ceremony.json", "ben").err
    assert "holds             approved by ada and ben" in people.good("minutes", "show", "ceremony.json", *ROOT)


def test_an_act_on_a_device_needs_each_role(people: People) -> None:
    words = ["--fingerprint", "ab" * 32, "--reason", "key of a stolen unit", *ROOT, "--out", "device.act"]
    assert len(people.good("device", "new", "a1" * 12, "--new-key", "ec-p256", *words).strip()) == 64
    officer = says(people, "device", "device.act", "ada")
    assert (officer.code, "ada's key, whose role is officer" in officer.err) == (2, True), officer.err
    one = says(people, "device", "device.act", "pia")
    assert "approved by pia (product-owner); still missing: quality; next: station-signer device" in one.err, one.err
    assert "not to be done yet" in people.signer("device", "show", "device.act", *ROOT).err
    two = says(people, "device", "device.act", "quinn")
    assert f"enough; next: station device rework {'a1' * 12} --act device.act, at the station that has it" in two.err
    assert "holds             it may be done until" in people.good("device", "show", "device.act", *ROOT)


def test_an_order_needs_each_role(people: People) -> None:
    assert people.order("lamps.json").code == 0
    one = says(people, "order", "lamps.json", "pia")
    assert "approved by pia (product-owner); still missing: quality; next: station-signer order" in one.err, one.err
    two = says(people, "order", "lamps.json", "quinn")
    assert re.search(r"enough; next: station order import lamps\.json", two.err), two.err
    assert "holds             5 + 1 may be made until" in people.good("order", "show", "lamps.json", *ROOT)


# ---- who may not


@pytest.mark.parametrize(("what", "person", "said"), [
    ("act", "pia", "pia's key, whose role is product-owner; this is approved by officers"),
    ("root", "quinn", "quinn's key, whose role is quality; this is approved by officers"),
    ("order", "ada", "ada's key, whose role is officer; this is approved by product-owner and quality"),
])  # fmt: skip
def test_whose_role_never_counts_signs_nothing(people: People, what: str, person: str, said: str) -> None:
    file = {"act": "refused.act", "root": "draft.json", "order": "refused.json"}[what]
    if what == "act":
        key_act(people, file)
    elif what == "root":
        people.good("root", "new", "--from", "root.toml", "--previous", "root.json", "--out", file)
    else:
        people.order(file)
    before = (people.place / file).read_bytes()
    done = says(people, what, file, person)
    assert (done.code, said in done.err) == (2, True), done.err
    assert (people.place / file).read_bytes() == before


def test_what_others_have_signed_all_the_same_is_taken_out_and_does_not_count(people: People) -> None:
    """Negative control: a count of signatures would say two."""
    people.sign_regardless(key_act(people, "odd.act"), "pia")
    done = says(people, "act", "odd.act", "ada")
    assert "taken out: 1 approval by keys" in done.err
    assert "approved by ada; still missing: 1 more officer" in done.err


def test_a_second_time_changes_nothing_and_says_so(people: People) -> None:
    file = key_act(people, "twice.act")
    says(people, "act", file, "ada")
    before = (people.place / file).read_bytes()
    done = says(people, "act", file, "ada")
    assert (done.code, "you had approved already, nothing changed" in done.err) == (0, True), done.err
    assert (people.place / file).read_bytes() == before
    assert "still missing: 1 more officer" in done.err


def test_an_order_of_another_root_says_so(people: People) -> None:
    people.order("other.json")
    text = (people.place / "root.toml").read_text()
    (people.place / "another.toml").write_text(text.replace("registry.example", "another.example"))
    people.good("root", "new", "--from", "another.toml", "--out", "stranger.json")
    people.approve("root", "stranger.json", "ada", "ben")
    done = people.signer("order", "approve", "other.json", "--root", "stranger.json", *people.key("pia"))
    assert (done.code, "names trust root" in done.err) == (2, True), done.err
    assert "is of nobody" not in done.err


# ---- what could not be used


@pytest.mark.parametrize(("words", "said"), [
    (("--signer", "st-09", "--lift-stop", "1"), "is no station of this root, nor its registry: it is one of st-01, reg-01"),
    (("--signer", "reg-01", "--lift-stop", "1"), "does acts on its keys only"),
    (("--signer", "st-01", "--destroy-key", "receipt", "--fingerprint", "ab" * 32), "has no key for 'receipt': it is one of pin,"),
    (("--signer", "reg-01", "--replace-key", "pin", "--fingerprint", "ab" * 32), "has no key for 'pin': it is one of receipt,"),
    (("--signer", "st-01", "--lift-stop"), "--lift-stop needs a value, and --out is an option"),
])  # fmt: skip
def test_an_act_that_nobody_could_do_is_not_made(people: People, words: tuple[str, ...], said: str) -> None:
    done = people.signer("act", "new", *ROOT, "--reason", "for a test", *words, "--out", "never.act")
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (people.place / "never.act").exists()


def test_an_act_of_the_registrys_keys_is_made(people: People) -> None:
    words = ["--signer", "reg-01", "--reason", "for a test", "--out", "registry.act"]
    key = people.fingerprint("receipt", "cloud")
    people.good("act", "new", *ROOT, *words, "--destroy-key", "receipt", "--fingerprint", key)


@pytest.mark.parametrize(
    ("station", "days", "said"), [("st-09", 9, "station 'st-09' is none"), ("st-01", -1, "it ended at")]
)
def test_an_order_under_which_nothing_could_be_made_is_not_made(
    people: People, station: str, days: int, said: str
) -> None:
    done = people.order("never.json", station=station, days=days)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (people.place / "never.json").exists()


def test_an_unsigned_order_in_demo_says_that_demo_takes_it(people: People) -> None:
    people.order("plain.json")
    assert "holds             without approvals, as this is environment demo" in people.good(
        "order", "show", "plain.json", *ROOT
    )


def test_an_act_says_whether_it_holds(people: People) -> None:
    file = key_act(people, "shown.act")
    draft = people.signer("act", "show", file, *ROOT)
    assert (draft.code, "not to be done yet" in draft.err, "act destroy-key" in draft.out) == (2, True, True)
    people.approve("act", file, "ada", "ben")
    assert "holds             it may be done once" in people.good("act", "show", file, *ROOT)


# ---- another kind of file


@pytest.mark.parametrize(("words", "said"), [
    (("order", "show", "root.json", *ROOT), "root.json is a trust root; give an order"),
    (("act", "show", "root.json", *ROOT), "root.json is a trust root; give an act"),
    (("minutes", "show", "some.act", *ROOT), "some.act is an act; give minutes"),
    (("order", "show", "some.act", "--root", "some.act"), "some.act is an act; give a trust root"),
    (("root", "show", "some.act"), "some.act is an act; give a trust root"),
    (("order", "new", "--from", "root.json", *ROOT, "--out", "x"), "root.json is a trust root; give TOML text"),
    (("root", "show", "ada.key"), "ada.key is a private key; give a trust root"),
    (("act", "approve", "some.act", *ROOT, "--key", "ada.pem", "--yes"), "ada.pem is a public key; give a private key"),
    (("act", "show", "root.toml", *ROOT), "root.toml is TOML text; give an act"),
    (("act", "show", "factory/public.json", *ROOT), "public.json is a public.json of a signer; give an act"),
])  # fmt: skip
def test_a_file_of_another_kind_is_named(people: People, words: tuple[str, ...], said: str) -> None:
    if not (people.place / "some.act").exists():
        key_act(people, "some.act")
    done = people.signer(*words)
    assert (done.code, said in done.err.splitlines()[-1]) == (2, True), done.err


# ---- in words


@pytest.mark.parametrize(("old", "new", "said"), [
    ('"ada.pem"', '"empty.pem"', "empty.pem is empty; give a public key"),
    ('"ada.pem"', '"ada.key"', "ada.key is a private key; give a public key"),
    ('"quality"', '"boss"', "approvers.NAME.roles[0]: 'boss' is none of product-owner, quality, officer"),
    ("https://", "http://", "registry_url: it must be an address that begins with https://"),
])  # fmt: skip
def test_what_a_root_may_say_is_told_in_words(people: People, old: str, new: str, said: str) -> None:
    (people.place / "empty.pem").touch()
    (people.place / "wrong.toml").write_text((people.place / "root.toml").read_text().replace(old, new))
    done = people.signer("root", "new", "--from", "wrong.toml", "--out", "wrong.json")
    assert (done.code, said in done.err, "$" in done.err) == (2, True, False), done.err
