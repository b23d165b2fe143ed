"""The cloud's signer signs receipts of its own registry, root and environment; the same receipt is the same bytes."""

from __future__ import annotations

import pytest

from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor
from tests.hsm.local_signer import Parties
from trust.codes import Code
from trust.statement import Receipt, verify


def test_a_receipt_is_signed_once(floor: Floor, parties: Parties) -> None:
    device = Device()
    receipt = floor.receipt(device, floor.factory.sign_pin(floor.pin(device)))
    signed = floor.cloud.sign_receipt(receipt)
    assert verify(signed, Receipt, floor.trusted.root.receipt_key) == receipt
    assert floor.cloud.sign_receipt(receipt) == signed
    assert parties.cloud_token.signed == {"receipt": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"environment": "site-a"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "00" * 32}, Code.WRONG_ROOT),
        ({"registry": "reg-02"}, Code.NOT_AUTHORISED),
    ],
)
def test_another_registrys_receipt_is_refused(
    floor: Floor, parties: Parties, change: dict[str, str], code: Code
) -> None:
    device = Device()
    pin = floor.factory.sign_pin(floor.pin(device))
    with pytest.raises(SignerError) as caught:
        floor.cloud.sign_receipt(floor.receipt(device, pin, **change))
    assert caught.value.code is code
    assert parties.cloud_token.signed.total() == 0


def test_one_key_is_not_receipted_for_two_devices(floor: Floor) -> None:
    device = Device()
    pin, _ = floor.pinned(device)
    with pytest.raises(SignerError) as caught:
        floor.cloud.sign_receipt(floor.receipt(device, pin, device_id="ab" * 12))
    assert caught.value.code is Code.KEY_ON_OTHER_DEVICE


def test_a_receipt_for_pin_and_one_for_completion_of_the_same_job(floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    done = floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)
    second = floor.receipt(device, done, subject="completion", state="active")
    assert floor.cloud.sign_receipt(second) != receipt


def test_a_receipt_for_no_device_is_malformed(floor: Floor) -> None:
    device = Device()
    pin = floor.factory.sign_pin(floor.pin(device))
    with pytest.raises(SignerError) as caught:
        floor.cloud.sign_receipt(floor.receipt(device, pin, device_id="00" * 12))
    assert caught.value.code is Code.MALFORMED
