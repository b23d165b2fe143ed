"""Under which orders something may be made at all: approved ones that fit the root; unsigned ones in `demo` only."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.trust import orders
from tests.trust.documents import ec_key, order_entries, order_file, spki
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
from trust.approval import MAX_APPROVALS, Approver
from trust.codes import Code
from trust.dsse import Envelope, Signature
from trust.order import MAX_ORDER_BYTES, Allotment, WorkOrder
from trust.order_approval import OrderRefusedError, admitted, body
from trust.order_file import from_toml
from trust.root import CloudKeys, Thresholds, TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import encode, envelope

WHO = people()
PIA, QUINN, ADA, BEN = (WHO[name] for name in ("pia", "quinn", "ada", "ben"))
CLOUD, AUTHORITY, HANDSHAKE = spki(ec_key()), spki(ec_key()), spki(ec_key())
ROOT = first_root(
    WHO.values(), cloud_keys=CloudKeys(device_service=(CLOUD,), authority=(AUTHORITY,), handshake=HANDSHAKE)
)
LINE = approved_by(wrap(ROOT), ADA, BEN)
TRUSTED = parse(file_of(LINE))
DEMO = parse(file_of(wrap(demo_root())))


def order(trusted: TrustedRoot = TRUSTED, **changes: Any) -> WorkOrder:
    named = {"environment": trusted.root.environment, "cloud_key": CLOUD, "authority_key": AUTHORITY}
    right = orders.make(trusted.sha256, trusted.root.stations, "ab" * 32, **named)
    return orders.changed(right, **changes)


RIGHT = order()
BARE = envelope(RIGHT)
APPROVED = approved_by(BARE, PIA, QUINN)


def refusal(given: Envelope, trusted: TrustedRoot = TRUSTED) -> tuple[Code, str]:
    with pytest.raises(OrderRefusedError) as caught:
        admitted(given, trusted)
    assert str(caught.value).isprintable()
    return caught.value.code, str(caught.value)


def not_approved(given: Envelope, trusted: TrustedRoot = TRUSTED) -> str:
    code, said = refusal(given, trusted)
    assert code is Code.ORDER_NOT_APPROVED
    assert "; next: station-signer order approve" in said
    return said


def later(**changes: Any) -> TrustedRoot:
    """The root's next version, with these changes."""
    following = next_root(ROOT, LINE, **changes)
    return parse(file_of(LINE, approved_by(wrap(following), ADA, BEN)))


def without(name: str) -> dict[str, Approver]:
    return {person: each for person, each in ROOT.approvers.items() if person != name}


def test_an_approved_order_is_worked_under() -> None:
    """Or the refusals below would prove nothing."""
    assert admitted(APPROVED, TRUSTED) == RIGHT == body(APPROVED)


def test_an_order_without_signatures_is_taken_in_demo_only() -> None:
    plain = order(DEMO)
    assert admitted(envelope(plain), DEMO) == plain
    assert "approved by nobody" in not_approved(BARE)


def test_a_plain_file_is_taken_in_demo_only() -> None:
    text = order_file({**order_entries(), "host": '"udp.example"'})
    assert admitted(from_toml(text, environment="demo", root_sha256=DEMO.sha256), DEMO)
    not_approved(from_toml(text, environment="plant-a", root_sha256=TRUSTED.sha256))


@pytest.mark.parametrize(
    "who", [(PIA,), (QUINN,), (ADA, BEN), (PIA, person("otto", "product-owner"))], ids=lambda who: who[-1].name
)
def test_too_few_or_of_the_wrong_roles(who: tuple[Person, ...]) -> None:
    not_approved(approved_by(BARE, *who))


def test_an_approver_whose_role_is_another_does_not_belong_there() -> None:
    assert "ada has none of the roles" in not_approved(approved_by(APPROVED, ADA))


def test_somebody_whom_the_root_does_not_name() -> None:
    eve = person("eve", "quality", "product-owner")
    assert "no approver's" in not_approved(approved_by(BARE, PIA, eve))
    assert "no approver's" in not_approved(approved_by(APPROVED, eve)), "even among enough others"


def test_in_demo_a_signature_counts_as_soon_as_there_is_one() -> None:
    """Nobody is named there: whoever signs is nobody's, and is not taken for an order without signatures."""
    assert "no approver's" in not_approved(approved_by(envelope(order(DEMO)), PIA, QUINN), DEMO)


def test_the_same_key_or_the_same_person_twice() -> None:
    twice = with_signatures(BARE, PIA.signature(BARE), PIA.signature(BARE))
    assert "each key once" in not_approved(twice)
    second = ec_key()
    both_roles = Approver(roles=("product-owner", "quality"), keys=(spki(PIA.key), spki(second)))
    trusted = later(approvers={**ROOT.approvers, "pia": both_roles})
    two_keys = with_signatures(BARE, PIA.signature(BARE), signature(second, BARE))
    assert "pia approved twice" in not_approved(two_keys, trusted)
    assert admitted(with_signatures(BARE, QUINN.signature(BARE), signature(second, BARE)), trusted) == RIGHT


def test_somebody_with_both_roles_is_still_one_person() -> None:
    jack = person("jack", "product-owner", "quality")
    trusted = later(approvers={**ROOT.approvers, **approvers([jack])})
    not_approved(approved_by(BARE, jack), trusted)
    assert admitted(approved_by(BARE, jack, QUINN), trusted) == RIGHT


def test_a_signature_over_another_body() -> None:
    other = envelope(orders.changed(RIGHT, quantity=2000))
    moved = with_signatures(other, *APPROVED.signatures)
    assert "is not over this document" in not_approved(moved)
    retyped = msgspec.structs.replace(BARE, payload_type="application/vnd.example+json")
    assert "is not over this" in not_approved(with_signatures(BARE, PIA.signature(BARE), QUINN.signature(retyped)))


def test_a_signature_that_is_junk() -> None:
    for junk in (Signature("x", b"y"), Signature(QUINN.signature(BARE).keyid, b"")):
        not_approved(with_signatures(BARE, PIA.signature(BARE), junk))


def test_signatures_out_of_order() -> None:
    backwards = msgspec.structs.replace(APPROVED, signatures=APPROVED.signatures[::-1])
    assert "in the order of their key ids" in not_approved(backwards)


def test_a_threshold_that_is_higher() -> None:
    otto = person("otto", "quality")
    trusted = later(approvers={**ROOT.approvers, **approvers([otto])}, thresholds=Thresholds(order=3))
    assert "3 people are wanted" in not_approved(APPROVED, trusted)
    assert admitted(approved_by(APPROVED, otto), trusted) == RIGHT


def test_an_order_of_an_earlier_version_stands_as_long_as_its_approvers_do() -> None:
    assert admitted(APPROVED, later()) == RIGHT
    stand_in = person("quora", "quality")
    gone = later(approvers={**without("quinn"), **approvers([stand_in])})
    assert "no approver's" in not_approved(APPROVED, gone)
    assert admitted(approved_by(BARE, PIA, stand_in), gone) == RIGHT


def test_an_order_of_a_root_that_is_not_this_one() -> None:
    newer = later()
    ahead = approved_by(envelope(order(newer)), PIA, QUINN)
    assert admitted(ahead, newer)
    code, said = refusal(ahead)
    assert code is Code.WRONG_ROOT
    assert "newest root file" in said


def test_an_order_of_another_environment() -> None:
    elsewhere = approved_by(envelope(order(environment="plant-b")), PIA, QUINN)
    assert refusal(elsewhere)[0] is Code.WRONG_ENVIRONMENT
    assert refusal(envelope(order(environment="demo")))[0] is Code.WRONG_ENVIRONMENT
    assert refusal(envelope(order(DEMO, environment="plant-a")), DEMO)[0] is Code.WRONG_ENVIRONMENT


def test_an_order_with_handshakes_wants_a_root_that_names_the_key_of_their_reports() -> None:
    """Without it no unit would ever pass. Control: the same order under the root that names one."""
    bare = later(cloud_keys=CloudKeys(device_service=(CLOUD,), authority=(AUTHORITY,)))
    assert RIGHT.handshakes
    code, said = refusal(approved_by(envelope(order(bare)), PIA, QUINN), bare)
    assert code is Code.ORDER_REFUSES and "no key that signs their reports" in said
    assert admitted(APPROVED, TRUSTED) == RIGHT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cloud_key": spki(ec_key())}, "its cloud key"),
        ({"authority_key": spki(ec_key())}, "its authority key"),
        ({"cloud_key": AUTHORITY, "authority_key": CLOUD}, "its cloud key"),
        ({"stations": ("st-01", "st-99")}, "station 'st-99'"),
    ],
)
def test_what_goes_into_devices_is_what_a_signed_root_names(changes: dict[str, Any], words: str) -> None:
    code, said = refusal(approved_by(envelope(order(**changes)), PIA, QUINN))
    assert code is Code.ORDER_REFUSES
    assert words in said


def test_a_root_without_signatures_names_nobodys_keys() -> None:
    plain = order(DEMO, cloud_key=spki(ec_key()), stations=("st-01", "st-99"))
    assert admitted(envelope(plain), DEMO) == plain


def test_a_key_that_the_root_names_no_more() -> None:
    other = spki(ec_key())
    replaced = later(cloud_keys=CloudKeys(device_service=(other,), authority=(AUTHORITY,), handshake=HANDSHAKE))
    assert refusal(APPROVED, replaced)[0] is Code.ORDER_REFUSES


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stations": {}}, "nobody could make it"),
        ({"stations": {"st-01": Allotment(quantity=1001)}}, "allotted quantity 1001"),
        ({"quantity": 0, "stations": {"st-01": Allotment(quantity=0)}}, "quantity is 0"),
        ({"firmware": ()}, "firmware is empty"),
    ],
)
def test_approvals_do_not_make_sense_of_what_has_none(changes: dict[str, Any], words: str) -> None:
    code, said = refusal(approved_by(envelope(order(**changes)), PIA, QUINN))
    assert code is Code.STATEMENT_INVALID
    assert words in said


def test_what_is_no_order() -> None:
    for given in (wrap(ROOT), Envelope(b"{}", WorkOrder.PAYLOAD_TYPE), Envelope(b"\xff", WorkOrder.PAYLOAD_TYPE)):
        assert refusal(given)[0] is Code.STATEMENT_INVALID
        with pytest.raises(OrderRefusedError):
            body(given)


def test_the_longest_order_with_the_most_approvals_can_be_sent() -> None:
    many = [person(f"p{n}", "product-owner", "quality") for n in range(MAX_APPROVALS)]
    trusted = later(approvers={**ROOT.approvers, **approvers(many)})
    longest = order(devices=tuple(f"{n:024x}" for n in range(1_140)))
    assert len(encode(longest)) > MAX_ORDER_BYTES - 700
    large = approved_by(envelope(longest), *many)
    assert admitted(Envelope.from_json(large.to_json()), trusted) == longest
