"""An order is imported once, approved and for this station; its body never changes, its approvals may be replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.floor import AUTHORITY_KEY, CLOUD_KEY, Device, Floor, make_order
from tests.hsm.local_signer import FactoryVerbs, Parties, make_factory
from tests.trust.people import approved_by, approvers, file_of, next_root, people, person
from trust.codes import Code
from trust.dsse import Envelope, Signature
from trust.order import Allotment, Firmware
from trust.root import CloudKeys
from trust.root_file import parse, wrap
from trust.statement import envelope

WHO = people()
ADA, BEN, PIA, QUINN = (WHO[name] for name in ("ada", "ben", "pia", "quinn"))
OTTO = person("otto", "quality")


def refusal(floor: Floor, order: Envelope) -> Code:
    with pytest.raises(SignerError) as caught:
        floor.factory.import_order(order)
    return caught.value.code


def test_the_same_order_again_changes_nothing(floor: Floor) -> None:
    for _ in range(4):
        floor.factory.sign_pin(floor.pin(Device()))
        floor.factory.import_order(floor.order_envelope)
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device()))
    assert caught.value.code is Code.ORDER_EXHAUSTED, "importing again must not reset the count"


def test_other_bytes_under_a_known_id_are_refused(floor: Floor) -> None:
    assert refusal(floor, envelope(make_order(floor.trusted, quantity=1000))) is Code.ORDER_CONFLICT


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"environment": "site-a"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "00" * 32}, Code.WRONG_ROOT),
        ({"quantity": 0}, Code.STATEMENT_INVALID),
        ({"service": "tcp"}, Code.STATEMENT_INVALID),
        ({"authority_key": CLOUD_KEY.spki}, Code.STATEMENT_INVALID),
        ({"cloud_key": b"no key"}, Code.STATEMENT_INVALID),
        ({"origins": ("injected",)}, Code.STATEMENT_INVALID),
        ({"stations": {}}, Code.STATEMENT_INVALID),
        ({"stations": {"st-01": Allotment(quantity=4)}}, Code.STATEMENT_INVALID),
        ({"stations": {"st-01": Allotment(quantity=3, allowance=2)}}, Code.STATEMENT_INVALID),
        ({"not_after": "2020-01-01T00:00:00Z"}, Code.STATEMENT_INVALID),
        ({"not_before": "2019-01-01T00:00:00Z", "not_after": "2020-01-01T00:00:00Z"}, Code.ORDER_REFUSES),
        ({"stations": ("st-02",)}, Code.ORDER_REFUSES),
    ],
)
def test_an_order_that_cannot_be_right_is_refused(floor: Floor, change: dict[str, Any], code: Code) -> None:
    assert refusal(floor, envelope(make_order(floor.trusted, order_id="order-2", **change))) is code


def test_an_order_in_another_spelling_or_of_another_type_is_refused(floor: Floor) -> None:
    right = envelope(make_order(floor.trusted, order_id="order-2"))
    spaced = msgspec.structs.replace(right, payload=right.payload.replace(b":", b": ", 1))
    assert refusal(floor, spaced) is Code.STATEMENT_INVALID
    assert refusal(floor, msgspec.structs.replace(right, payload_type="text/plain")) is Code.STATEMENT_INVALID


def test_an_order_too_large_to_travel_beside_a_statement_is_refused(floor: Floor) -> None:
    firmware = tuple(Firmware(sha256=f"{number:064x}") for number in range(400))
    large = envelope(make_order(floor.trusted, order_id="order-2", firmware=firmware))
    assert len(large.payload) > 32_000
    assert refusal(floor, large) is Code.STATEMENT_INVALID


def test_approvals_that_cannot_be_checked_are_refused(floor: Floor) -> None:
    right = envelope(make_order(floor.trusted, order_id="order-2"))
    assert refusal(floor, msgspec.structs.replace(right, signatures=(Signature("x", b"y"),))) is Code.ORDER_NOT_APPROVED


def test_an_order_may_be_known_before_it_begins_and_not_be_worked_under(parties: Parties, tmp_path: Path) -> None:
    clock = [1_800_000_000.0]  # 2027-01-15T08:00:00Z
    factory = make_factory(tmp_path / "factory", "st-01", parties.trusted, parties.factory_token, lambda: clock[0])
    window = {"not_before": "2027-01-15T08:00:01Z", "not_after": "2027-01-15T09:00:00Z"}
    floor = Floor(parties.trusted, make_order(parties.trusted, **window), factory, parties.cloud)
    early, late, begun = (Device() for _ in range(3))

    def code(device: Device) -> Code:
        with pytest.raises(SignerError) as caught:
            factory.sign_pin(floor.pin(device, made_at="2027-01-15T08:30:00Z"))
        return caught.value.code

    assert code(early) is Code.ORDER_REFUSES, "by the signer's clock, whatever the statement says"
    clock[0] += 1
    signed = factory.sign_pin(statement := floor.pin(begun, made_at="2027-01-15T08:30:00Z"))
    clock[0] += 3600
    assert code(late) is Code.ORDER_REFUSES
    assert factory.sign_pin(statement) == signed, "what was signed in time is answered for ever"


def test_a_clock_that_is_set_back_does_not_open_a_window_again(parties: Parties, tmp_path: Path) -> None:
    clock = [1_800_000_000.0]
    factory = make_factory(tmp_path / "factory", "st-01", parties.trusted, parties.factory_token, lambda: clock[0])
    order = make_order(parties.trusted, not_after="2027-01-15T09:00:00Z")
    floor = Floor(parties.trusted, order, factory, parties.cloud)
    factory.sign_pin(floor.pin(Device()))
    factory.signatory.counters.see_time(1_800_003_601)
    assert factory.signatory.now() == 1_800_003_601
    with pytest.raises(SignerError, match="it ended at"):
        factory.sign_pin(floor.pin(Device()))
    factory.signatory.counters.see_time(1_700_000_000)
    assert factory.signatory.now() == 1_800_003_601


# ---- under a root that names approvers


def approved_floor(parties: Parties, tmp_path: Path) -> Floor:
    """As `floor`, with a root that names people, and an order that two of them have approved."""
    handshake = parties.trusted.root.cloud_keys.handshake
    named = CloudKeys(device_service=(CLOUD_KEY.spki,), authority=(AUTHORITY_KEY.spki,), handshake=handshake)
    root = msgspec.structs.replace(parties.trusted.root, approvers=approvers([*WHO.values(), OTTO]), cloud_keys=named)
    trusted = parse(file_of(approved_by(wrap(root), ADA, BEN)))
    factory = make_factory(tmp_path / "factory", "st-01", trusted, parties.factory_token)
    floor = Floor(trusted, make_order(trusted), factory, parties.cloud)
    factory.import_order(approved_by(floor.order_envelope, PIA, QUINN))
    return floor


def kept(factory: FactoryVerbs) -> Envelope:
    data = factory.signatory.counters.order("order-1")
    assert data is not None
    return Envelope.from_json(data)


def test_the_same_body_with_other_approvals_replaces_them_and_resets_nothing(parties: Parties, tmp_path: Path) -> None:
    floor = approved_floor(parties, tmp_path)
    again = approved_by(floor.order_envelope, PIA, OTTO)
    for number in range(4):
        floor.factory.sign_pin(floor.pin(Device(), order_signed=True))
        floor.factory.import_order(again if number % 2 else approved_by(again, QUINN))
    assert kept(floor.factory) == again
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device(), order_signed=True))
    assert caught.value.code is Code.ORDER_EXHAUSTED


def test_approvals_that_do_not_hold_replace_none(parties: Parties, tmp_path: Path) -> None:
    floor = approved_floor(parties, tmp_path)
    before = kept(floor.factory)
    assert refusal(floor, approved_by(floor.order_envelope, PIA)) is Code.ORDER_NOT_APPROVED
    other = envelope(make_order(floor.trusted, quantity=4))
    moved = msgspec.structs.replace(other, signatures=before.signatures)
    assert refusal(floor, moved) is Code.ORDER_NOT_APPROVED
    assert refusal(floor, approved_by(other, PIA, QUINN)) is Code.ORDER_CONFLICT
    assert kept(floor.factory) == before


def test_an_approver_who_has_left_takes_the_order_along_until_another_approves(
    parties: Parties, tmp_path: Path
) -> None:
    floor = approved_floor(parties, tmp_path)
    floor.factory.sign_pin(floor.pin(Device(), order_signed=True))
    first = floor.trusted.root
    line = approved_by(wrap(first), ADA, BEN)
    left = {name: each for name, each in first.approvers.items() if name != "quinn"}
    second = next_root(first, line, approvers={**left})
    trusted = parse(file_of(line, approved_by(wrap(second), ADA, BEN)))
    floor.factory = make_factory(tmp_path / "factory", "st-01", trusted, parties.factory_token)
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device(), bytes(32), order_signed=True))
    assert caught.value.code is Code.ORDER_NOT_APPROVED
    assert "then import it again" in str(caught.value)
    floor.factory.import_order(approved_by(floor.order_envelope, PIA, OTTO))
    floor.factory.sign_pin(floor.pin(Device(), order_signed=True))


def test_a_statement_says_truly_whether_its_order_is_approved(parties: Parties, tmp_path: Path) -> None:
    floor = approved_floor(parties, tmp_path)
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device(), order_signed=False))
    assert caught.value.code is Code.STATEMENT_INVALID
