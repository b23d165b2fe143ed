"""The signer remembers each r that a device's ECDSA signatures had: two messages with one r give the private key away."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from hsm.counters import Counters
from hsm.signer import SignerError
from tests.contract.judges import ToldDevice, fresh_nonces
from tests.hsm.floor import Floor, make_order
from tests.hsm.local_signer import Parties
from trust.codes import Code


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted, quantity=9), parties.factory, parties.cloud)


def told(*nonces: int) -> ToldDevice:
    """These first, then fresh ones."""
    return ToldDevice(nonces=chain(nonces, fresh_nonces()))


def refused(floor: Floor, device: ToldDevice) -> tuple[Code, str]:
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(device))
    return caught.value.code, str(caught.value)


def test_another_devices_r_is_refused_by_its_name_and_costs_nothing(floor: Floor) -> None:
    first = told()
    floor.factory.sign_pin(floor.pin(first))
    counters = floor.factory.signatory.counters
    before = counters.run("SELECT pins, (SELECT count(*) FROM nonces) FROM orders").fetchone()
    code, text = refused(floor, told(first.used[1]))
    assert code is Code.KEY_ON_OTHER_DEVICE and str(first.device_id) in text
    assert counters.run("SELECT pins, (SELECT count(*) FROM nonces) FROM orders").fetchone() == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_completion_with_an_r_of_another_devices_pin_is_refused(floor: Floor, which: int) -> None:
    first, second = told(), told()
    floor.factory.sign_pin(floor.pin(first))
    pin, receipt = floor.pinned(second)
    second.nonces = chain([first.used[which]], fresh_nonces())
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_completion(floor.completion(second, pin, receipt), pin, receipt)
    assert caught.value.code is Code.KEY_ON_OTHER_DEVICE
    second.nonces = fresh_nonces()
    floor.factory.sign_completion(floor.completion(second, pin, receipt), pin, receipt)


def test_the_same_statement_again_is_no_repetition(floor: Floor) -> None:
    pin = floor.pin(told())
    assert floor.factory.sign_pin(pin) == floor.factory.sign_pin(pin)


def test_a_deterministic_signer_is_fine(floor: Floor) -> None:
    """RFC 6979: the same message has the same signature, and both proofs are over one message."""
    floor.factory.sign_pin(floor.pin(ToldDevice(nonces=repeat(next(fresh_nonces())))))


def test_control_a_signer_without_this_memory_signs_for_both(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: no other rule sees it."""
    monkeypatch.setattr(Counters, "claim_nonce", lambda *_: None)
    first = told()
    floor.factory.sign_pin(floor.pin(first))
    floor.factory.sign_pin(floor.pin(told(first.used[0])))


def test_an_r_is_never_forgotten(floor: Floor) -> None:
    floor.factory.sign_pin(floor.pin(told()))
    with pytest.raises(Exception, match="nonces stay"):
        floor.factory.signatory.counters.run("DELETE FROM nonces")
