"""A key, or a nonce, of a device that was re-pinned comes up on another one: the registry shows what proves it.

The station believes what it is shown, and no more: then its line stops, and the unit goes into quarantine by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.messages import error_answer
from registry.pins import later
from registry.pins.acts import Shown
from station.cloud import CloudRefusedError, answers
from station.refusals import refusal_problem
from tests.hsm import repeated_nonce
from tests.registry.living import Living, living
from tests.registry.make import Device, PrivateKey, ec_key, public, rsa_key, sign
from tests.station import ledgerkit as kit
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.proof import proof_message
from trust.repin import bound

K = 1 + secrets.randbelow(repeated_nonce.P256_ORDER - 1)


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


def pin_of(site: Living, device: Device, **changes: object) -> Envelope:
    return site.made.pin(device, order_signed=True, made_at=utc(NOW), **changes)


def refused(site: Living, device: Device, pin: Envelope) -> CloudRefusedError:
    """What the station hears, through the answer's bytes."""
    with pytest.raises(RefusedError) as caught:
        site.pins.pin(device.device_id, pin, site.order)
    body = error_answer(caught.value.code, str(caught.value), caught.value.stored)
    heard = answers.refusal("PUT", 409, body)
    assert isinstance(heard, CloudRefusedError)
    assert heard.code is Code.KEY_ON_OTHER_DEVICE
    return heard


def repinned_with_nonce(site: Living, device: Device, new: ec.EllipticCurvePrivateKey) -> None:
    """The device shows its new key by a signature with the nonce K."""
    act = site.repin_act(device, new)
    challenge = site.acts.challenge(device.device_id)[0]
    message = proof_message(
        device.device_id, "repin", bound(challenge, act.payload_sha256, "", public(new).fingerprint)
    )
    shown = Shown(
        challenge=challenge, spki=public(new).spki,
        signatures=(repeated_nonce.sign(new, message, K), sign(new, message)),
    )  # fmt: skip
    site.acts.repin(device.device_id, act, shown)


def pin_with_nonce(site: Living, device: Device) -> Envelope:
    """A pin statement whose proof is right, with the same nonce."""
    assert isinstance(device.key, ec.EllipticCurvePrivateKey)
    proof = device.possession("pin")
    message = proof_message(device.device_id, "pin", proof.challenge)
    first = repeated_nonce.sign(device.key, message, K)
    return pin_of(
        site, device, possession=msgspec.structs.replace(proof, signatures=(first, sign(device.key, message)))
    )


def the_same_key(site: Living) -> tuple[Device, Envelope]:
    new = ec_key()
    site.repinned(site.device(), new)
    other = Device(key=new)
    return other, pin_of(site, other)


def the_key_before_the_last(site: Living) -> tuple[Device, Envelope]:
    device, first, second = site.device(), ec_key(), ec_key()
    site.repinned(device, first)
    site.repinned(replace(device, key=first), second)
    other = Device(key=first)
    return other, pin_of(site, other)


def the_same_nonce(site: Living) -> tuple[Device, Envelope]:
    repinned_with_nonce(site, site.device(), ec_key())
    other = Device()
    return other, pin_with_nonce(site, other)


CASES = (the_same_key, the_key_before_the_last, the_same_nonce)
Case = Callable[[Living], tuple[Device, Envelope]]


@pytest.mark.parametrize("case", CASES)
def test_a_station_believes_it(site: Living, case: Case) -> None:
    other, pin = case(site)
    heard = refused(site, other, pin)
    assert heard.stored is not None and heard.stored.repin is not None
    assert refusal_problem(site.made.trusted, pin, heard) is None


@pytest.mark.parametrize("case", CASES)
def test_control_by_the_first_pin_alone_it_is_not_proved(
    site: Living, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, pin = case(site)
    monkeypatch.setattr(later, "standing_against", lambda _checked, _holder: None)
    heard = refused(site, other, pin)
    assert refusal_problem(site.made.trusted, pin, heard) is not None


def test_a_device_that_was_re_pinned_shows_no_later_key_where_it_is_the_first_one_that_repeats(site: Living) -> None:
    device = site.device()
    site.repinned(device, ec_key())
    other = Device(key=device.key)
    heard = refused(site, other, pin_of(site, other))
    assert heard.stored is not None and heard.stored.repin is None
    assert refusal_problem(site.made.trusted, pin_of(site, other), heard) is None


def test_without_its_receipt_nothing_is_shown_and_the_same_again_is_whole(site: Living) -> None:
    device, new, signer = site.device(), ec_key(), site.signer
    act = site.repin_act(device, new)
    shown = site.shown(device, act, new)
    signer.fault = SignerUnavailableError("no answer")
    with pytest.raises(ReceiptUnavailableError):
        site.acts.repin(device.device_id, act, shown)
    other = Device(key=new)
    pin = pin_of(site, other)
    with pytest.raises(ReceiptUnavailableError):
        site.pins.pin(other.device_id, pin, site.order)
    signer.fault = None
    assert refusal_problem(site.made.trusted, pin, refused(site, other, pin)) is None


@dataclass(frozen=True, slots=True)
class Told:
    """A refusal that is proved, to be twisted; `another` is a later key of a third device, with its receipt."""

    site: Living
    pin: Envelope
    heard: CloudRefusedError
    another: CloudRefusedError

    def believed(self, **changes: Envelope | None) -> bool:
        assert self.heard.stored is not None
        twisted = CloudRefusedError(self.heard.code, "", replace(self.heard.stored, **changes))
        return refusal_problem(self.site.made.trusted, self.pin, twisted) is None


def test_what_does_not_hold_proves_nothing(site: Living) -> None:
    other, pin = the_same_key(site)
    third, theirs = the_same_key(site)
    told = Told(site, pin, refused(site, other, pin), refused(site, third, theirs))
    shown, another = told.heard.stored, told.another.stored
    assert shown is not None and another is not None and shown.repin is not None and shown.repin_receipt is not None
    assert told.believed()
    assert not told.believed(repin=None)
    assert not told.believed(repin_receipt=None)
    assert not told.believed(repin_receipt=another.repin_receipt)
    assert not told.believed(repin_receipt=kit.unsigned(shown.repin_receipt))
    assert not told.believed(repin=another.repin, repin_receipt=another.repin_receipt), "another device's"
    text = shown.repin.payload.replace(public_of(pin).encode(), b"00" * 32)
    assert not told.believed(repin=Envelope(text, shown.repin.payload_type))


def public_of(pin: Envelope) -> str:
    return str(msgspec.json.decode(pin.payload)["fingerprint"])


def test_a_later_rsa_key_is_proved_as_well(database: Database) -> None:
    """Its signatures have no nonce: the key alone is what repeats."""
    site = living(database, key_type="rsa-2048")
    keys: list[PrivateKey] = [rsa_key(0), rsa_key(1)]
    site.repinned(site.device(key=keys[0]), keys[1])
    other = Device(key=keys[1])
    pin = pin_of(site, other)
    assert refusal_problem(site.made.trusted, pin, refused(site, other, pin)) is None
