"""The signer signs a completion only for a receipted pin, a second proof and a closing report that says what the order says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties, make_factory, make_registry, make_root
from tests.hsm.software_token import SoftwareToken, sealed
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import JobId
from trust.statement import Completion, PinStatement, envelope, verify


def refusal(floor: Floor, done: Completion, pin: Envelope, receipt: Envelope) -> Code:
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_completion(done, pin, receipt)
    assert str(caught.value)
    return caught.value.code


def test_a_right_completion_is_signed_by_the_completion_key_as_it_stands(floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    done = floor.completion(device, pin, receipt)
    signed = floor.factory.sign_completion(done, pin, receipt)
    assert verify(signed, Completion, floor.trusted.root.completion_key("st-01")) == done
    assert floor.factory.sign_completion(done, pin, receipt) == signed


def test_a_refused_completion_costs_nothing(floor: Floor, parties: Parties) -> None:
    """What is refused, by whom: tests/contract/test_judges.py."""
    device = Device()
    pin, receipt = floor.pinned(device)
    right = floor.completion(device, pin, receipt)
    assert refusal(floor, msgspec.structs.replace(right, port=1), pin, receipt) is Code.ORDER_REFUSES
    assert parties.factory_token.signed["completion"] == 0
    floor.factory.sign_completion(right, pin, receipt)  # neither challenge nor unit was spent


def test_the_closing_reports_challenge_is_ours_for_a_report_and_good_once(floor: Floor) -> None:
    device, other = Device(), Device()
    pin, receipt = floor.pinned(device)
    for challenge in (bytes(32), floor.challenge(device, "pin"), floor.challenge(other, "report")):
        closing = device.closing(floor.order, challenge)
        done = floor.completion(device, pin, receipt, closing=closing)
        assert refusal(floor, done, pin, receipt) is Code.CHALLENGE_UNKNOWN


def test_pin_and_receipt_must_be_signed_by_the_roots_keys_for_them(floor: Floor, parties: Parties) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    done = floor.completion(device, pin, receipt)
    statement, received = msgspec.json.decode(pin.payload, type=PinStatement), floor.receipt(device, pin)
    for label in ("completion", "client"):
        assert refusal(floor, done, sealed(parties.factory_token, statement, label), receipt) is Code.STATEMENT_INVALID
    for label in ("cloud-udp", "authority"):
        assert refusal(floor, done, pin, sealed(parties.cloud_token, received, label)) is Code.STATEMENT_INVALID
    assert refusal(floor, done, envelope(statement), receipt) is Code.STATEMENT_INVALID
    assert refusal(floor, done, pin, envelope(received)) is Code.STATEMENT_INVALID
    assert refusal(floor, done, receipt, receipt) is Code.STATEMENT_INVALID
    assert refusal(floor, done, pin, pin) is Code.STATEMENT_INVALID
    stranger = msgspec.structs.replace(statement, station="st-99")
    assert refusal(floor, done, sealed(parties.factory_token, stranger, "pin"), receipt) is Code.STATEMENT_INVALID


def test_another_stations_pin_is_believed_on_the_devices_word_only(floor: Floor, parties: Parties) -> None:
    """Signed by the root's key and receipted, and its first proof is another key's."""
    device = Device()
    stranger = Device(device_id=device.device_id, job=device.job).prove("pin", bytes(32))
    pin = sealed(parties.factory_token, floor.pin(device, possession=stranger), "pin")
    receipt = floor.cloud.sign_receipt(floor.receipt(device, pin))
    assert refusal(floor, floor.completion(device, pin, receipt), pin, receipt) is Code.PROOF_INVALID


def test_a_pin_that_the_order_does_not_permit_is_not_completed(floor: Floor, parties: Parties) -> None:
    """Another station's signer has let it through."""
    device = Device()
    pin = sealed(parties.factory_token, floor.pin(device, product="toaster"), "pin")
    receipt = floor.cloud.sign_receipt(floor.receipt(device, pin))
    assert refusal(floor, floor.completion(device, pin, receipt), pin, receipt) is Code.ORDER_REFUSES


def test_one_completion_a_job(floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)
    again = floor.completion(device, pin, receipt, made_at="2026-11-22T21:00:00Z")
    assert refusal(floor, again, pin, receipt) is Code.JOB_BYTES_DIFFER


def test_the_completion_closes_the_pin_that_was_signed_here(floor: Floor, parties: Parties) -> None:
    device = Device()
    first = floor.factory.sign_pin(floor.pin(device))
    second = sealed(parties.factory_token, floor.pin(device, made_at="2026-11-22T21:00:00Z"), "pin")
    receipt = floor.cloud.sign_receipt(floor.receipt(device, second))
    assert first != second
    assert refusal(floor, floor.completion(device, second, receipt), second, receipt) is Code.STATEMENT_INVALID


def test_no_more_completions_than_quantity(parties: Parties) -> None:
    order = make_order(parties.trusted, quantity=2, allowance=2)
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    pinned = [(device, *floor.pinned(device)) for device in (Device(), Device(), Device())]
    codes = []
    for device, pin, receipt in pinned:
        done = floor.completion(device, pin, receipt)
        try:
            floor.factory.sign_completion(done, pin, receipt)
            codes.append(None)
        except SignerError as error:
            codes.append(error.code)
    assert codes == [None, None, Code.ORDER_EXHAUSTED]


def test_no_pin_statement_once_the_quantity_is_completed(parties: Parties) -> None:
    """The allowance is for losses: a unit begun now could never be completed, and would be locked for nothing."""
    order = make_order(parties.trusted, quantity=1, allowance=2)
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    pin, receipt = floor.pinned(first := Device())
    floor.pinned(Device())  # the first one is not completed yet: it may still be lost
    floor.factory.sign_completion(floor.completion(first, pin, receipt), pin, receipt)
    with pytest.raises(SignerError, match="its 1 units are completed") as caught:
        floor.pinned(Device())
    assert caught.value.code is Code.ORDER_EXHAUSTED


def test_a_pin_of_another_station_of_the_root_is_completed_here(tmp_path: Path) -> None:
    tokens = {name: SoftwareToken.make(tmp_path / name, "factory") for name in ("st-01", "st-02")}
    cloud = SoftwareToken.make(tmp_path / "cloud", "cloud", rsa_keys=False)
    trusted = make_root(tokens, "reg-01", cloud)
    registry = make_registry(tmp_path / "cloud", "reg-01", trusted, cloud)
    order = make_order(trusted)
    first, second = (
        Floor(trusted, order, make_factory(tmp_path / name, name, trusted, token), registry, name)
        for name, token in tokens.items()
    )
    device = Device()
    pin, receipt = first.pinned(device)
    signed = second.factory.sign_completion(second.completion(device, pin, receipt), pin, receipt)
    assert verify(signed, Completion, trusted.root.completion_key("st-02")).job == str(device.job)
    other_job = Device(device.key, device.device_id, JobId.new())
    assert refusal(second, second.completion(other_job, pin, receipt), pin, receipt) is Code.STATEMENT_INVALID


@pytest.mark.parametrize("device_id", ["00" * 12, "ff" * 12, "ab" * 12 + "\n", "ab", "٣" * 24])
def test_a_completion_for_no_device_is_malformed(floor: Floor, device_id: str) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    done = msgspec.structs.replace(floor.completion(device, pin, receipt), device_id=device_id)
    assert refusal(floor, done, pin, receipt) is Code.MALFORMED
