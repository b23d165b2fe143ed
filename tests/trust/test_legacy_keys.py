"""RSA keys of 1,024 bits: taken under an order that says so, and nowhere else (docs/decisions/0040)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from station.audit import device as audited
from tests.registry.make import Device, World, sign, world
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.order import LEGACY, OrderError, permits
from trust.order_check import check
from trust.signed import Signed, device_key, nonces
from trust.statement import PinStatement

LEGACY_ORDER = {"key_type": "rsa-1024", "vetting": LEGACY, "origins": ("collected",)}


def small(bits: int = 1024, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def spki(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def legacy() -> rsa.RSAPrivateKey:
    return small()


@pytest.fixture(scope="module")
def plant() -> World:
    cloud = PublicKey.from_der(spki(small(2048)))
    return world(key_type="rsa-2048").with_order(service="tcp", cloud_key=cloud.spki)


def pinned(plant: World, key: rsa.RSAPrivateKey, **changes: Any) -> PinStatement:
    """What a station would state of a device with this key."""
    public = PublicKey.from_der(spki(key), legacy=True)
    said = {"key_type": "rsa-1024", "spki": public.spki, "fingerprint": public.fingerprint, "origin": "collected"}
    return plant.pin_statement(Device(), **(said | changes))


def test_only_who_asks_for_it_gets_it(legacy: rsa.RSAPrivateKey) -> None:
    with pytest.raises(PublicKeyError, match="1024 bits"):
        PublicKey.from_der(spki(legacy))
    with pytest.raises(PublicKeyError, match="1024 bits"):
        PublicKey.from_pem(legacy.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
    key = PublicKey.from_der(spki(legacy), legacy=True)
    assert (key.key_type, key.modulus) == (KeyType.RSA_1024, legacy.public_key().public_numbers().n.to_bytes(128))


@pytest.mark.parametrize(("bits", "exponent"), [(1024, 3), (1032, 65537), (1536, 65537), (4096, 65537)])
def test_no_other_size_and_no_other_exponent(bits: int, exponent: int) -> None:
    with pytest.raises(PublicKeyError, match="only 2048 bits"):
        PublicKey.from_der(spki(small(bits, exponent)), legacy=True)


def test_an_order_has_to_say_it_twice(plant: World) -> None:
    check(plant.with_order(**LEGACY_ORDER).order)
    for entry, other in [("key_type", "rsa-2048"), ("vetting", "basic"), ("origins", ("generated", "collected"))]:
        with pytest.raises(OrderError, match=LEGACY):
            check(plant.with_order(**(LEGACY_ORDER | {entry: other})).order)
    udp = world()
    with pytest.raises(OrderError, match="of a TCP service"):
        check(udp.with_order(**LEGACY_ORDER).order)


def test_it_is_pinned_under_such_an_order_alone(plant: World, legacy: rsa.RSAPrivateKey) -> None:
    under = plant.with_order(**LEGACY_ORDER)
    pin = pinned(under, legacy)
    assert permits(under.order, under.order_envelope.payload_sha256, pin) is None
    assert device_key(pin) == audited.key_of(pin) == PublicKey.from_der(spki(legacy), legacy=True)
    other = plant.with_order(origins=("collected",))
    refused = permits(other.order, other.order_envelope.payload_sha256, pinned(other, legacy))
    assert refused == "key type is 'rsa-1024', the order says 'rsa-2048'"


def test_a_statement_of_another_type_does_not_let_it_in(plant: World, legacy: rsa.RSAPrivateKey) -> None:
    lie = pinned(plant, legacy, key_type="rsa-2048")
    with pytest.raises(PublicKeyError):
        device_key(lie)
    with pytest.raises(ValueError, match="1024 bits"):
        audited.key_of(lie)


def test_its_signatures_have_no_nonce(legacy: rsa.RSAPrivateKey) -> None:
    made = sign(legacy, b"message")
    assert (len(made), nonces([Signed(b"message", made)])) == (128, ())
    assert PublicKey.from_der(spki(legacy), legacy=True).verifies(made, b"message")
