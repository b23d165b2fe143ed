"""The signer signs a pin statement only if every rule holds, once, and never more than the order has units."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from hsm.policy.challenge import _CLOCK_BACK_S, _VALID_S
from hsm.records import Binding
from hsm.signer import ChallengeRequest, SignerError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties, make_factory
from trust.codes import Code
from trust.statement import PinStatement, Possession, Vetting, envelope, verify


def refusal(floor: Floor, pin: PinStatement) -> Code:
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(pin)
    assert str(caught.value)
    return caught.value.code


def test_a_right_statement_is_signed_by_the_pin_key_as_it_stands(floor: Floor) -> None:
    pin = floor.pin(Device())
    signed = floor.factory.sign_pin(pin)
    assert verify(signed, PinStatement, floor.trusted.root.pin_key("st-01")) == pin
    assert signed.signatures[0].keyid == floor.trusted.root.pin_key("st-01").fingerprint


def test_the_same_statement_gives_the_same_bytes_and_costs_nothing(floor: Floor, parties: Parties) -> None:
    pin = floor.pin(Device())
    assert len({floor.factory.sign_pin(pin).to_json() for _ in range(3)}) == 1
    assert parties.factory_token.signed["pin"] == 1
    assert floor.factory.status().signatures["pin"] == 1


BROKEN: list[tuple[dict[str, Any], Code]] = [  # what all judges refuse: tests/contract/test_judges.py
    ({"product": "toaster"}, Code.ORDER_REFUSES),
    ({"made_at": "yesterday"}, Code.MALFORMED),
    ({"vetting": Vetting(verdict="ok", checks=("x" * 200,) * 300)}, Code.TOO_LARGE),
]


@pytest.mark.parametrize(("change", "code"), BROKEN, ids=[f"{next(iter(c))}-{code}" for c, code in BROKEN])
def test_each_broken_rule_is_refused_with_its_code_and_costs_nothing(
    floor: Floor, parties: Parties, change: dict[str, Any], code: Code
) -> None:
    device = Device()
    right = floor.pin(device)
    assert refusal(floor, msgspec.structs.replace(right, **change)) is code
    assert parties.factory_token.signed.total() == 0
    floor.factory.sign_pin(right)  # neither challenge nor unit was spent


def test_a_key_of_another_type_than_it_says_is_refused(parties: Parties) -> None:
    order = make_order(parties.trusted, key_type="rsa-2048")
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    assert refusal(floor, floor.pin(Device(), key_type="rsa-2048")) is Code.STATEMENT_INVALID


def test_an_rsa_device_is_signed_for(parties: Parties) -> None:
    order = make_order(parties.trusted, key_type="rsa-2048")
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    floor.factory.sign_pin(floor.pin(Device(rsa.generate_private_key(65537, 2048))))


def test_a_deterministic_signer_may_give_the_same_signature_twice(floor: Floor) -> None:
    device = Device()
    challenge = floor.challenge(device)
    once = device.prove("pin", challenge).signatures[0]
    proof = Possession(challenge=challenge, context="pin", signatures=(once, once))
    floor.factory.sign_pin(floor.pin(device, challenge, possession=proof))


@pytest.mark.parametrize("field", ["purpose", "order_id", "job", "device_id"])
def test_a_challenge_is_good_for_its_own_purpose_order_job_and_device_only(floor: Floor, field: str) -> None:
    floor.factory.import_order(envelope(make_order(floor.trusted, order_id="order-2")))
    device = Device()
    other = {"purpose": "report", "order_id": "order-2", "job": "ab" * 16, "device_id": "ab" * 12}
    request = msgspec.structs.replace(floor.challenge_request(device), **{field: other[field]})
    assert refusal(floor, floor.pin(device, floor.factory.challenge(request))) is Code.CHALLENGE_UNKNOWN


def test_a_challenge_that_was_not_given_here_is_refused(floor: Floor) -> None:
    assert refusal(floor, floor.pin(Device(), secrets.token_bytes(32))) is Code.CHALLENGE_UNKNOWN


def test_a_challenge_is_good_once(floor: Floor) -> None:
    device = Device()
    challenge = floor.challenge(device)
    floor.factory.sign_pin(floor.pin(device, challenge))
    # The same device, job and order again is refused sooner, so the challenge is tried where nothing else can refuse.
    counters = floor.factory.signatory.counters
    request = floor.challenge_request(device)
    binding = Binding(purpose="pin", order_id=request.order_id, job=request.job, device_id=request.device_id)
    assert not counters.use_challenge(challenge, binding, used_by="another", issued=(0, 2**40))


@pytest.mark.parametrize(
    ("age", "good"),
    [(0, True), (_VALID_S, True), (_VALID_S + 1, False), (-_CLOCK_BACK_S, True), (-_CLOCK_BACK_S - 1, False)],
)
def test_a_challenge_is_good_for_90_days(parties: Parties, tmp_path, age: int, good: bool) -> None:
    clock = [1_800_000_000.0]
    factory = make_factory(tmp_path / "factory", "st-01", parties.trusted, parties.factory_token, lambda: clock[0])
    floor = Floor(parties.trusted, make_order(parties.trusted), factory, parties.cloud)
    pin = floor.pin(Device())
    clock[0] += age
    if good:
        signed = factory.sign_pin(pin)
        clock[0] += 10 * _VALID_S
        assert factory.sign_pin(pin) == signed, "a statement that was let through once is answered for ever"
    else:
        assert refusal(floor, pin) is Code.CHALLENGE_UNKNOWN


def test_stale_challenges_do_not_pile_up(parties: Parties, tmp_path) -> None:
    clock = [1_800_000_000.0]
    factory = make_factory(tmp_path / "factory", "st-01", parties.trusted, parties.factory_token, lambda: clock[0])
    floor = Floor(parties.trusted, make_order(parties.trusted), factory, parties.cloud)
    for _ in range(20):
        floor.challenge(Device())
        clock[0] += _VALID_S
    (kept,) = factory.signatory.counters.run("SELECT count(*) FROM challenges").fetchone()
    assert kept <= 2


@pytest.mark.parametrize("change", [{"job": "xyz"}, {"device_id": "00" * 12}, {"device_id": "ab"}])
def test_a_challenge_for_no_device_or_job_is_refused(floor: Floor, change: dict[str, str]) -> None:
    request = msgspec.structs.replace(floor.challenge_request(Device()), **change)
    with pytest.raises(SignerError) as caught:
        floor.factory.challenge(request)
    assert caught.value.code is Code.MALFORMED


def test_a_challenge_for_an_unknown_order_is_refused(floor: Floor) -> None:
    with pytest.raises(SignerError) as caught:
        floor.factory.challenge(ChallengeRequest(purpose="pin", order_id="order-9", job="ab" * 16, device_id="ab" * 12))
    assert caught.value.code is Code.ORDER_UNKNOWN


def test_same_job_other_bytes_is_refused(floor: Floor) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    assert refusal(floor, floor.pin(device)) is Code.JOB_BYTES_DIFFER


def test_a_job_belongs_to_one_device(floor: Floor) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    assert refusal(floor, floor.pin(Device(job=device.job))) is Code.JOB_BYTES_DIFFER


def test_a_device_has_one_key_under_an_order(floor: Floor) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    assert refusal(floor, floor.pin(Device(device_id=device.device_id))) is Code.DEVICE_HAS_OTHER_KEY


def test_a_device_has_one_job_under_an_order(floor: Floor) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    assert refusal(floor, floor.pin(Device(device.key, device.device_id))) is Code.PINNED_UNDER_OTHER_JOB


def test_a_key_has_one_device_under_all_orders(floor: Floor, parties: Parties) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    assert refusal(floor, floor.pin(Device(device.key))) is Code.KEY_ON_OTHER_DEVICE
    second = Floor(parties.trusted, make_order(parties.trusted, order_id="order-2"), parties.factory, parties.cloud)
    assert refusal(second, second.pin(Device(device.key))) is Code.KEY_ON_OTHER_DEVICE


def test_no_more_devices_than_quantity_and_allowance(floor: Floor, parties: Parties) -> None:
    pins = [floor.pin(Device()) for _ in range(6)]
    for pin in pins[:4]:
        floor.factory.sign_pin(pin)
    assert refusal(floor, pins[4]) is Code.ORDER_EXHAUSTED
    assert refusal(floor, pins[5]) is Code.ORDER_EXHAUSTED
    for pin in pins[:4]:
        floor.factory.sign_pin(pin)  # those that were let through are answered still
    assert parties.factory_token.signed["pin"] == 4


def test_an_emulated_device_is_refused_outside_demo(floor: Floor, parties: Parties) -> None:
    from hsm.orders import KnownOrder
    from hsm.policy.pin import _judge

    order = make_order(parties.trusted, environment="site-a")
    pin = floor.pin(Device(), environment="site-a", order_sha256=envelope(order).payload_sha256)
    with pytest.raises(SignerError) as caught:
        _judge(KnownOrder(body=order, sha256=envelope(order).payload_sha256, signed=False), pin)
    assert caught.value.code is Code.WRONG_ENVIRONMENT


def test_a_device_is_signed_for_once_whatever_the_order(floor: Floor) -> None:
    device = Device()
    floor.factory.sign_pin(floor.pin(device))
    later = dataclasses.replace(floor, order=make_order(floor.trusted, order_id="order-later"))
    assert refusal(later, later.pin(Device(device_id=device.device_id))) is Code.DEVICE_HAS_OTHER_KEY


@pytest.mark.parametrize("device_id", ["00" * 12, "ff" * 12, "ab" * 12 + "\n", "ab", "٣" * 24])
def test_a_statement_for_no_device_is_malformed(floor: Floor, parties: Parties, device_id: str) -> None:
    """A zeroed or erased id has the right form, so the message's type alone does not refuse it."""
    assert refusal(floor, floor.pin(Device(), device_id=device_id)) is Code.MALFORMED
    assert parties.factory_token.signed["pin"] == 0
