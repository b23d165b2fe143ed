"""Signatures made by the token are never more than those on record; one more, by whomever, stops the signer.

The token's own count is a double's here, which counts what it really signed; drained from a command log in YubiHSM 2's
form it is held against the books in `test_command_log.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.purposes import Purpose
from hsm.signer import SignerError, SignerUnavailableError
from hsm.token import TokenUnavailableError
from tests.hsm.floor import Device, Floor
from tests.hsm.leased import Leased
from trust.account import Balance
from trust.codes import Code
from trust.statement import read


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    made = Leased.make(tmp_path, units=100)
    made.renew()
    return made


@pytest.fixture
def floor(plant: Leased) -> Floor:
    return plant.floor(plant.order())


def balance(plant: Leased) -> Balance:
    """With the token telling what it has made until now."""
    token = plant.factory.signatory.token
    token.tells = sum(token.signed.values())  # type: ignore[attr-defined]
    return read(plant.factory.balance(), Balance)


def books(said: Balance) -> int:
    """Without the balance's own signature, which was not made yet when it was written."""
    return sum(each.payloads + each.resigned for each in said.signatures.values())


def test_the_equation_holds_after_ordinary_work(plant: Leased, floor: Floor) -> None:
    for _ in range(5):
        device = Device()
        pin, receipt = floor.pinned(device)
        floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)
    floor.factory.client_assertion(plant.trusted.root.registry_url)
    said = balance(plant)
    assert (said.by_token, said.stopped) == (books(said), "")
    assert read(plant.factory.balance(), Balance).stopped == ""


def test_a_signature_that_was_counted_and_not_made_is_no_alarm(plant: Leased, floor: Floor) -> None:
    statement = floor.pin(Device())
    plant.factory.signatory.token.fail_next.append(TokenUnavailableError("busy"))  # type: ignore[attr-defined]
    with pytest.raises(SignerUnavailableError):
        floor.factory.sign_pin(statement)
    floor.factory.sign_pin(statement)
    said = balance(plant)
    assert said.by_token is not None
    assert (said.by_token, said.stopped) == (books(said) - 1, "")


def test_one_signature_beside_the_policy_stops_the_signer(plant: Leased, floor: Floor) -> None:
    floor.factory.sign_pin(floor.pin(Device()))
    plant.factory.signatory.token.sign_ecdsa(Purpose.PIN, bytes(32))
    said = balance(plant)
    assert said.by_token == books(said) + 1
    assert said.stopped == "1: signatures that the token has made and this signer has not counted: 1"
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device()))
    assert caught.value.code is Code.STOPPED
    for by in (("ada",), ("ada", "pia")):
        with pytest.raises(SignerError):
            plant.factory.perform_act(plant.act(*by, kind="lift-stop", stop=1))
    plant.factory.perform_act(plant.act("ada", "ben", kind="lift-stop", stop=1))
    floor.factory.sign_pin(floor.pin(Device()))
    assert balance(plant).stopped == "", "officers know of it"
    plant.factory.signatory.token.sign_ecdsa(Purpose.PIN, bytes(32))
    assert balance(plant).stopped != "", "one more than officers know of"


def test_a_signer_that_forgets_to_count_is_caught(plant: Leased, floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: of two pin statements one is not counted."""
    monkeypatch.setattr("hsm.counters.Counters.count_signature", lambda *_, **__: None)
    floor.factory.sign_pin(floor.pin(Device()))
    monkeypatch.undo()
    assert balance(plant).stopped != ""
