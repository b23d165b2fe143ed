"""An order is imported once, byte for byte, and only if it makes sense under this root."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.floor import CLOUD_KEY, Device, Floor, make_order
from trust.codes import Code
from trust.dsse import Envelope, Signature
from trust.statement import envelope


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
    firmware = tuple(f"{number:064x}" for number in range(600))
    large = envelope(make_order(floor.trusted, order_id="order-2", firmware=firmware))
    assert refusal(floor, large) is Code.STATEMENT_INVALID


def test_approvals_that_cannot_be_checked_are_refused(floor: Floor) -> None:
    right = envelope(make_order(floor.trusted, order_id="order-2"))
    assert refusal(floor, msgspec.structs.replace(right, signatures=(Signature("x", b"y"),))) is Code.STATEMENT_INVALID
