"""What a device signed: its key, its proofs, and when its nonces give the key away."""

from __future__ import annotations

import msgspec
import pytest

from tests.hsm import repeated_nonce
from tests.registry.make import Device, World, ec_key, rsa_key, world
from trust.keys import PublicKeyError
from trust.signed import Signed, SignedError, device_key, nonce_problem, nonces, signed_in
from trust.statement import Completion, PinStatement, read

KEY = ec_key()


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def signed(message: bytes, nonce: int) -> Signed:
    return Signed(message, repeated_nonce.sign(KEY, message, nonce))


@pytest.mark.parametrize(
    ("used", "found", "fresh"),
    [
        ([(b"a", 11), (b"b", 12), (b"c", 13)], 3, True),
        ([(b"a", 11), (b"a", 11)], 1, True),  # the same bytes over the same message: RFC 6979
        ([(b"a", 11), (b"b", 11)], 2, False),
        ([(b"a", 11), (b"a", 12), (b"b", 12)], 3, False),
        ([], 0, True),
    ],
)
def test_a_nonce_over_two_messages_gives_the_key_away(used: list[tuple[bytes, int]], found: int, fresh: bool) -> None:
    told = [signed(message, nonce) for message, nonce in used]
    assert len(nonces(told)) == found
    assert (nonce_problem(told) is None) == fresh


def test_one_message_with_two_signatures_of_one_r() -> None:
    once = signed(b"a", 11)
    assert nonce_problem([once, Signed(b"a", repeated_nonce.sign(ec_key(), b"a", 11))]) is not None


def test_rsa_has_no_nonce(made: World) -> None:
    device = Device(rsa_key())
    pin = made.pin_statement(device)
    assert nonces(signed_in(pin)) == ()
    assert device_key(pin).key_type.value == "rsa-2048"


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", bytes(64), bytes(257)])
def test_what_is_no_signature_is_refused_in_a_sentence(signature: bytes) -> None:
    with pytest.raises(SignedError, match="neither RSA nor ECDSA"):
        nonces([Signed(b"a", signature)])
    assert "neither" in (nonce_problem([Signed(b"a", signature)]) or "")


def test_all_that_a_device_signed_is_in_its_statements(made: World) -> None:
    device = Device()
    pin = made.pin(device)
    done = read(made.completion(device, pin, pin), Completion)
    found = [*signed_in(read(pin, PinStatement)), *signed_in(done)]
    assert len(found) == 5
    assert len({each.message for each in found}) == 3
    key = device_key(read(pin, PinStatement))
    assert all(key.verifies(each.signature, each.message) for each in found)


@pytest.mark.parametrize("change", [{"device_id": "00" * 12}, {"device_id": "zz"}])
def test_a_statement_of_no_device_holds_nothing_signed(made: World, change: dict[str, str]) -> None:
    with pytest.raises(SignedError):
        signed_in(msgspec.structs.replace(made.pin_statement(Device()), **change))


@pytest.mark.parametrize("change", [{"fingerprint": "00" * 32}, {"key_type": "rsa-2048"}, {"spki": b"\x30\x00"}])
def test_a_key_that_is_not_the_statements_is_refused(made: World, change: dict[str, object]) -> None:
    pin = made.pin_statement(Device())
    assert device_key(pin).fingerprint == pin.fingerprint
    with pytest.raises(PublicKeyError):
        device_key(msgspec.structs.replace(pin, **change))
