"""A root's file goes on from version to version: each one approved by officers of the version before and of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.trust.documents import ec_key, spki
from tests.trust.documents import root as demo_root
from tests.trust.people import (
    Person,
    approved_by,
    approvers,
    file_of,
    first_root,
    next_root,
    people,
    person,
    signature,
    with_signatures,
)
from trust.approval import Approver
from trust.dsse import Envelope, Signature
from trust.root import MAX_VERSION, CloudKeys, LeaseTerms, Root, RootError, Seen, Thresholds, TrustedRoot, must_follow
from trust.root_file import parse, require_approved, versions, wrap

WHO = people()
ADA, BEN, CLEO, PIA = (WHO[name] for name in ("ada", "ben", "cleo", "pia"))
FIRST = first_root(WHO.values())
LINE_1 = approved_by(wrap(FIRST), ADA, BEN)
SECOND = next_root(FIRST, LINE_1, lease=LeaseTerms(units=7))
LINE_2 = approved_by(wrap(SECOND), BEN, CLEO)
THIRD = next_root(SECOND, LINE_2, lease=LeaseTerms(units=8))
LINE_3 = approved_by(wrap(THIRD), ADA, CLEO)


def refused(*lines: Envelope) -> str:
    with pytest.raises(RootError) as caught:
        parse(file_of(*lines))
    said = str(caught.value)
    assert said.isprintable()
    assert "; give the root file that was made for this environment" in said
    return said


def second(*who: Person, **changes: Any) -> Envelope:
    return approved_by(wrap(msgspec.structs.replace(SECOND, **changes)), *who)


def test_a_root_of_three_versions() -> None:
    """Or the refusals below would prove nothing."""
    trusted = parse(file_of(LINE_1, LINE_2, LINE_3))
    assert (trusted.root, trusted.sha256, trusted.signed) == (THIRD, LINE_3.payload_sha256, True)
    assert trusted.earlier == ((LINE_1.payload_sha256, FIRST), (LINE_2.payload_sha256, SECOND))
    assert parse(file_of(LINE_1)).root == FIRST
    assert [root for _, root in versions(file_of(LINE_1, LINE_2))] == [FIRST, SECOND]


def test_records_are_judged_by_the_version_that_they_name() -> None:
    trusted = parse(file_of(LINE_1, LINE_2, LINE_3))
    for line, root in ((LINE_1, FIRST), (LINE_2, SECOND), (LINE_3, THIRD)):
        assert trusted.knows(line.payload_sha256)
        assert trusted.at(line.payload_sha256) == root
    later = parse(file_of(LINE_1))
    assert not later.knows(LINE_2.payload_sha256)
    with pytest.raises(RootError, match="none of the versions"):
        later.at(LINE_2.payload_sha256)


def test_a_version_left_out_or_in_the_wrong_place() -> None:
    for lines in ((LINE_1, LINE_3), (LINE_2, LINE_1), (LINE_2,), (LINE_1, LINE_1), (LINE_1, LINE_3, LINE_2)):
        assert "does not follow" in refused(*lines)


@pytest.mark.parametrize(
    "changes",
    [{"previous_sha256": ""}, {"previous_sha256": "00" * 32}, {"version": 3}, {"version": 1}, {"environment": "demo"}],
    ids=str,
)
def test_a_version_that_does_not_continue_the_one_before(changes: dict[str, Any]) -> None:
    assert "does not follow" in refused(LINE_1, second(ADA, BEN, **changes))


@pytest.mark.parametrize("changes", [{"version": 2}, {"previous_sha256": "00" * 32}], ids=str)
def test_a_first_version_that_is_none(changes: dict[str, Any]) -> None:
    made = msgspec.structs.replace(FIRST, **changes)
    assert "does not follow" in refused(approved_by(wrap(made), ADA, BEN))
    plain = msgspec.structs.replace(demo_root(), **changes)
    assert "does not follow" in refused(wrap(plain))


@pytest.mark.parametrize("who", [(ADA,), (ADA, PIA), (PIA, WHO["quinn"])], ids=["one", "one and another", "others"])
def test_too_few_officers(who: tuple[Person, ...]) -> None:
    """Whatever others approve: who decides about orders does not decide about the root."""
    assert "2 are wanted" in refused(LINE_1, second(*who))
    assert "2 are wanted" in refused(approved_by(wrap(FIRST), *who))


def test_a_version_without_signatures() -> None:
    assert "taken in environment 'demo' only" in refused(wrap(FIRST))
    assert "nobody: 2 are wanted" in refused(LINE_1, wrap(SECOND))
    plain = demo_root()
    following = next_root(plain, wrap(plain))
    assert "names too few people" in refused(wrap(plain), wrap(following))


def test_one_version_without_signatures_is_taken_in_demo() -> None:
    trusted = parse(file_of(wrap(demo_root())))
    assert (trusted.signed, trusted.earlier) == (False, ())


def test_a_demo_root_may_be_approved_too() -> None:
    made = first_root(WHO.values(), environment="demo")
    assert parse(file_of(approved_by(wrap(made), ADA, BEN))).signed
    assert "2 are wanted" in refused(approved_by(wrap(made), ADA))


def test_a_threshold_that_is_higher() -> None:
    strict = msgspec.structs.replace(FIRST, thresholds=Thresholds(root=3))
    assert "3 are wanted" in refused(approved_by(wrap(strict), ADA, BEN))
    line = approved_by(wrap(strict), ADA, BEN, CLEO)
    assert parse(file_of(line)).root == strict
    loose = next_root(strict, line, thresholds=Thresholds())
    two, three = approved_by(wrap(loose), ADA, BEN), approved_by(wrap(loose), ADA, BEN, CLEO)
    said = refused(line, two)
    assert "officers of the version before it: " in said
    assert ": 3 are wanted" in said
    assert parse(file_of(line, three)).root == loose


NEW = {name: person(name, "officer") for name in ("dan", "eva")}


def test_officers_that_are_all_new_are_let_in_by_the_old_ones() -> None:
    staff = [each for name, each in WHO.items() if name not in {"ada", "ben", "cleo"}]
    handed_over = next_root(FIRST, LINE_1, approvers=approvers([*staff, *NEW.values()]))
    bare = wrap(handed_over)
    assert parse(file_of(LINE_1, approved_by(bare, ADA, BEN, *NEW.values()))).root == handed_over
    assert "version before it: nobody: 2 are wanted" in refused(LINE_1, approved_by(bare, *NEW.values()))
    assert "version before it: ada: 2 are wanted" in refused(LINE_1, approved_by(bare, ADA, *NEW.values()))
    assert "its own officers: nobody: 2 are wanted" in refused(LINE_1, approved_by(bare, ADA, BEN))
    assert "its own officers: dan: 2 are wanted" in refused(LINE_1, approved_by(bare, ADA, BEN, NEW["dan"]))


def test_an_officer_who_has_left_approves_nothing_later() -> None:
    without_ada = next_root(FIRST, LINE_1, approvers=approvers(each for name, each in WHO.items() if name != "ada"))
    line = approved_by(wrap(without_ada), ADA, BEN, CLEO)
    third = next_root(without_ada, line)
    assert "no approver's" in refused(LINE_1, line, approved_by(wrap(third), ADA, BEN, CLEO))
    assert parse(file_of(LINE_1, line, approved_by(wrap(third), BEN, CLEO))).root == third


def test_one_person_with_two_keys_is_one() -> None:
    other = ec_key()
    named = {**approvers(WHO.values()), "ada": Approver(roles=("officer",), keys=(spki(ADA.key), spki(other)))}
    bare = wrap(msgspec.structs.replace(FIRST, approvers=named))
    twice = with_signatures(bare, ADA.signature(bare), signature(other, bare))
    assert "ada approved twice" in refused(twice)
    assert parse(file_of(with_signatures(bare, BEN.signature(bare), signature(other, bare)))).signed


def test_a_signature_that_is_junk_is_refused_among_enough_good_ones() -> None:
    bare = wrap(FIRST)
    good = (ADA.signature(bare), BEN.signature(bare))
    stranger = person("eve", "officer").signature(bare)
    assert "no approver's" in refused(with_signatures(bare, *good, stranger))
    assert "no approver's" in refused(with_signatures(bare, *good, Signature("\u202ejunk", b"junk")))
    assert "signature of cleo" in refused(with_signatures(bare, *good, Signature(CLEO.signature(bare).keyid, b"junk")))
    assert "signature of cleo" in refused(with_signatures(bare, *good, CLEO.signature(wrap(SECOND))))
    assert "each key once" in refused(with_signatures(bare, *good, ADA.signature(bare)))
    backwards = msgspec.structs.replace(LINE_1, signatures=LINE_1.signatures[::-1])
    assert "in the order of their key ids" in refused(backwards)


def test_approvals_can_be_judged_before_the_file_is_whole() -> None:
    require_approved(LINE_2, SECOND, FIRST)
    with pytest.raises(RootError, match=r"version 2: .*2 are wanted"):
        require_approved(second(ADA), SECOND, FIRST)


@pytest.mark.parametrize(
    ("people_left", "thresholds", "words"),
    [
        (("ada", "pia", "quinn"), Thresholds(), "ada: 2 are wanted"),
        (("ada", "ben", "pia"), Thresholds(), "product-owner and quality are wanted"),
        (("ada", "ben", "quinn"), Thresholds(), "product-owner and quality are wanted"),
        (("ada", "ben", "cleo", "pia", "quinn"), Thresholds(act=4), "4 are wanted"),
        (("ada", "ben", "cleo", "pia", "quinn"), Thresholds(order=3), "3 people are wanted"),
    ],
)
def test_a_root_with_too_few_people_to_go_on_with(
    people_left: tuple[str, ...], thresholds: Thresholds, words: str
) -> None:
    named = approvers(WHO[name] for name in people_left)
    made = msgspec.structs.replace(FIRST, approvers=named, thresholds=thresholds)
    assert words in refused(approved_by(wrap(made), *(WHO[name] for name in people_left)))


def placed(key: bytes) -> dict[str, Root]:
    """The root with this key in each of its places."""
    (station, keys), *_ = FIRST.stations.items()

    def with_keys(**changes: bytes) -> Root:
        return msgspec.structs.replace(FIRST, stations={station: msgspec.structs.replace(keys, **changes)})

    def with_registry(**changes: bytes) -> Root:
        made = msgspec.structs.replace(FIRST.registry_keys, **changes)
        return msgspec.structs.replace(FIRST, registry_keys=made)

    twin = {**FIRST.approvers, "twin": Approver(roles=("quality",), keys=(key,))}
    return {
        **{purpose: with_keys(**{purpose: key}) for purpose in keys.__struct_fields__},
        **{f"registry {each}": with_registry(**{each: key}) for each in FIRST.registry_keys.__struct_fields__},
        "handshake": msgspec.structs.replace(FIRST, cloud_keys=CloudKeys(handshake=key)),
        "authority": msgspec.structs.replace(FIRST, cloud_keys=CloudKeys(authority=(key,))),
        "device service": msgspec.structs.replace(FIRST, cloud_keys=CloudKeys(device_service=(key,))),
        "witness": msgspec.structs.replace(FIRST, witnesses={"w-01": key}),
        "person": msgspec.structs.replace(FIRST, approvers=twin),
    }


PLACES = sorted(placed(spki(ec_key())))


@pytest.mark.parametrize("place", PLACES)
def test_a_key_in_two_places(place: str) -> None:
    new = placed(spki(ec_key()))[place]
    assert parse(file_of(approved_by(wrap(new), ADA, BEN))).root == new, "a key of its own is taken there"
    (keys,) = FIRST.stations.values()
    elsewhere = [keys.log if place == "pin" else keys.pin, spki(PIA.key), FIRST.registry_keys.receipt]
    for taken in elsewhere[: 2 if place == "registry receipt" else 3]:
        again = placed(taken)[place]
        assert "one key stands in two places" in refused(approved_by(wrap(again), ADA, BEN))


def test_a_registry_with_a_stations_name() -> None:
    (name,) = FIRST.stations
    made = msgspec.structs.replace(FIRST, registry=name)
    assert "have one name" in refused(approved_by(wrap(made), ADA, BEN))


def test_a_person_with_one_key_twice() -> None:
    named = {**FIRST.approvers, "pia": Approver(roles=PIA.roles, keys=(spki(PIA.key),) * 2)}
    made = msgspec.structs.replace(FIRST, approvers=named)
    assert "one key stands in two places" in refused(approved_by(wrap(made), ADA, BEN))


@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_cannot_be_used_in_any_place(place: str) -> None:
    made = placed(b"\x30\x00")[place]
    assert "trust root: " in refused(approved_by(wrap(made), ADA, BEN))


def test_a_root_is_never_taken_back() -> None:
    one, two = parse(file_of(LINE_1)), parse(file_of(LINE_1, LINE_2))
    assert must_follow(one, None)
    assert not must_follow(one, seen(one)), "the same one again changes nothing"
    assert must_follow(two, seen(one))
    with pytest.raises(RootError, match=r"version 1: version 2 was taken up here already; give .*, the newest"):
        must_follow(one, seen(two))


def test_another_root_of_the_same_version_is_not_taken() -> None:
    """By the same officers: one of the two is not what was agreed upon, and which cannot be known here."""
    other = next_root(FIRST, LINE_1, lease=LeaseTerms(units=9))
    fork = approved_by(wrap(other), ADA, BEN)
    beyond = approved_by(wrap(next_root(other, fork)), ADA, BEN)
    two = parse(file_of(LINE_1, LINE_2))
    for trusted in (parse(file_of(LINE_1, fork)), parse(file_of(LINE_1, fork, beyond))):
        with pytest.raises(RootError, match=r"its version 2 is not the one"):
            must_follow(trusted, seen(two))


def seen(trusted: TrustedRoot) -> Seen:
    return Seen(trusted.root.version, trusted.sha256)


def test_more_lines_than_versions_there_may_be() -> None:
    with pytest.raises(RootError):
        parse(LINE_1.to_json() + b"\n" * (2 * MAX_VERSION) + LINE_2.to_json())


def test_a_root_is_equal_to_itself_only() -> None:
    one, again, two = parse(file_of(LINE_1)), parse(file_of(LINE_1)), parse(file_of(LINE_1, LINE_2))
    assert (one, hash(one)) == (again, hash(again))
    assert one != two
