"""A signature that was asked for and not given: counted before it is asked for again, once, and no other request suffers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.group_commit import settle
from hsm.policy.pin import PinCase
from hsm.signer import SignerUnavailableError
from hsm.token import SignatureUnknownError, TokenError, TokenUnavailableError
from hsm.token.pin_tries import FILE, PinTries
from hsm.token.user_pin import UserPin
from tests.hsm.floor import Device, Floor
from trust.dsse import Envelope
from trust.merkle import EMPTY_ROOT
from trust.signed_note import Head


def unknown(times: int = 1) -> list[TokenError]:
    return [SignatureUnknownError("no answer") for _ in range(times)]


def settled(floor: Floor, cases: list[PinCase]) -> list[object]:
    """The answers in the order of the cases."""
    answers = [each for answered in settle(floor.factory.signatory.counters, cases) for each in answered]
    assert len(answers) == len(cases), "each is answered once"
    return [next(answer for errand, answer in answers if errand is case) for case in cases]


def group(floor: Floor, size: int) -> list[PinCase]:
    return [PinCase(floor.factory.signatory, floor.pin(Device())) for _ in range(size)]


def test_a_doubtful_signature_is_counted_and_made_again_in_its_group(floor: Floor, token) -> None:
    cases = group(floor, 3)
    token.fail_next = unknown()
    assert all(isinstance(each, Envelope) for each in settled(floor, cases))
    status = floor.factory.status()
    assert (status.signatures["pin"], status.resigned, token.signed["pin"]) == (3, 1, 3)


def test_the_count_is_on_disk_before_the_token_is_asked_again(floor: Floor, token) -> None:
    seen: list[int] = []
    real = token.sign_ecdsa

    def looking(label: str, digest: bytes) -> bytes:
        seen.append(sum(again for _, again in floor.factory.signatory.counters.signatures().values()))
        return bytes(real(label, digest))

    token.sign_ecdsa = looking
    token.fail_next = unknown()
    settled(floor, group(floor, 1))
    assert seen == [0, 1]
    assert not floor.factory.signatory.counters._connection.in_transaction


def test_a_second_doubt_is_told_and_asking_again_is_counted(floor: Floor, token) -> None:
    (case,) = group(floor, 1)
    token.fail_next = unknown(2)
    (found,) = settled(floor, [case])
    assert isinstance(found, SignatureUnknownError)
    (again,) = settled(floor, [PinCase(floor.factory.signatory, case.statement)])
    assert isinstance(again, Envelope)
    assert floor.factory.status().resigned == 2


def test_a_token_that_is_away_is_not_asked_again_for_what_is_in_doubt(floor: Floor, token) -> None:
    cases = group(floor, 3)
    token.fail_next = [*unknown(), TokenUnavailableError("away")]
    found = settled(floor, cases)
    assert [type(each) for each in found] == [SignatureUnknownError, TokenUnavailableError, TokenUnavailableError]
    assert floor.factory.status().resigned == 0
    assert token.signed["pin"] == 0


@pytest.mark.parametrize("ask", ["checkpoint", "assertion"])
def test_what_is_signed_alone_is_made_again_once(floor: Floor, token, ask: str) -> None:
    root = floor.trusted.root
    head = Head(origin=root.log_origin("st-01"), size=0, root_hash=EMPTY_ROOT, old_size=0, proof=())

    def sign() -> str:
        if ask == "checkpoint":
            return floor.factory.sign_checkpoint(head)
        return floor.factory.client_assertion(root.registry_url)

    token.fail_next = unknown()
    assert sign()
    assert floor.factory.status().resigned == 1
    if ask == "assertion":
        token.fail_next = unknown(2)
        with pytest.raises(SignerUnavailableError):
            sign()
        assert floor.factory.status().resigned == 2


@pytest.fixture
def token(parties):
    return parties.factory_token


# ---- which PINs were given in vain


def test_a_memory_of_tries_that_cannot_be_read_gives_no_pin(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(TokenError, match="retry-pin"):
        PinTries(tmp_path / FILE, UserPin("1234")).objection(wrong_one_counted=False)


def test_a_memory_of_tries_that_cannot_be_kept_gives_no_pin(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="no user PIN is tried without it"):
        PinTries(tmp_path / "away" / FILE, UserPin("1234")).begin()


def test_a_pin_that_was_accepted_may_lose_any_number_of_answers(tmp_path: Path) -> None:
    tries = PinTries(tmp_path / FILE, UserPin("1234"))
    tries.begin()
    tries.accepted()
    assert not (tmp_path / FILE).exists()
    for _ in range(5):
        assert tries.objection(wrong_one_counted=True) is None
        tries.begin()
    after_a_crash = PinTries(tmp_path / FILE, UserPin("1234"))
    assert after_a_crash.objection(wrong_one_counted=False) is None
    assert after_a_crash.objection(wrong_one_counted=True) is not None
    assert PinTries(tmp_path / FILE, UserPin("another")).objection(wrong_one_counted=True) is None
