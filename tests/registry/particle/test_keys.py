"""What people put into the field of a public key: all that is none is refused with a reason, a private key above all."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from registry.particle import keys
from tests.registry.make import ec_key, public, rsa_key
from tests.registry.particle.desk import DEVICE, Desk

GOOD_EC, GOOD_RSA = public(ec_key()).to_pem(), public(rsa_key()).to_pem()


def pem_of(key: Any, encoding: Encoding = Encoding.PEM, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    return key.public_key().public_bytes(encoding, form).decode()  # type: ignore[no-any-return]


def rsa_of(p: int, q: int) -> str:
    numbers = rsa.RSAPublicNumbers(65537, p * q)
    return numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def next_prime(number: int) -> int:
    number |= 1
    while pow(2, number - 1, number) != 1 or pow(3, number - 1, number) != 1:
        number += 2
    return number


def roca_like() -> str:
    """A modulus all of whose residues are powers of 65537: what the vulnerable library's key generation makes."""
    step = 1
    for prime in keys._ROCA:
        step *= prime
    value = pow(65537, 12345, step)
    count = (3 << 2046) // step
    while True:
        modulus = count * step + value
        if modulus % 2 and keys.gcd(modulus, keys._small_primes()) == 1:
            break
        count += 1
    numbers = rsa.RSAPublicNumbers(65537, modulus)
    return numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def generator() -> str:
    return pem_of(ec.derive_private_key(1, ec.SECP256R1()))


def generators_negative() -> str:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return pem_of(ec.derive_private_key(order - 1, ec.SECP256R1()))


def near_primes() -> str:
    p = next_prime(0xC5 << 1016)
    return rsa_of(p, next_prime(p + 2))


ODD: dict[str, tuple[str, Callable[[], str]]] = {
    "nothing": ("invalid_public_key", lambda: ""),
    "spaces": ("invalid_public_key", lambda: " \n "),
    "words": ("invalid_public_key", lambda: "my key"),
    "base64 without header": ("invalid_public_key", lambda: "".join(GOOD_EC.splitlines()[1:-1])),
    "pkcs1": ("invalid_public_key", lambda: pem_of(rsa_key(), form=PublicFormat.PKCS1)),
    "openssh": (
        "invalid_public_key",
        lambda: (
            rsa_key()
            .public_key()
            .public_bytes(
                Encoding.OpenSSH,
                PublicFormat.OpenSSH,
            )
            .decode()
        ),
    ),
    "certificate": (
        "invalid_public_key",
        lambda: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ),
    "two": ("invalid_public_key", lambda: GOOD_EC + GOOD_RSA),
    "words behind": ("invalid_public_key", lambda: GOOD_EC + "my board"),
    "words before": ("invalid_public_key", lambda: "my board\n" + GOOD_EC),
    "cut": ("invalid_public_key", lambda: GOOD_EC[:100]),
    "inside is none": (
        "invalid_public_key",
        lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ),
    "long": ("invalid_public_key", lambda: GOOD_EC.replace("\n", "\n" * 3000)),
    "ed25519": ("invalid_public_key", lambda: pem_of(ed25519.Ed25519PrivateKey.generate())),
    "p-384": ("invalid_public_key", lambda: pem_of(ec.generate_private_key(ec.SECP384R1()))),
    "rsa-1024": ("invalid_public_key", lambda: pem_of(rsa.generate_private_key(65537, 1024))),
    "rsa with e = 3": ("invalid_public_key", lambda: pem_of(rsa.generate_private_key(3, 2048))),
    "the other algorithm": ("algorithm_mismatch", lambda: GOOD_RSA),
    "private key 1": ("weak_public_key", generator),
    "private key -1": ("weak_public_key", generators_negative),
}
WEAK_RSA: dict[str, Callable[[], str]] = {
    "near primes": near_primes,
    "small factor": lambda: rsa_of(1999, (3 << 2046) // 1999 | 1),
    "roca": roca_like,
}


def test_what_is_no_good_public_key_is_refused(desk: Desk) -> None:
    token = desk.token()
    for name, (error, make) in ODD.items():
        answer = desk.key({"deviceID": DEVICE, "publicKey": make(), "algorithm": "ecc"}, token)
        said = answer.json()
        wanted = (422 if error == "weak_public_key" else 400, error)
        assert (answer.status_code, said["error"]) == wanted, (name, said)
        assert len(said["error_description"]) > 20
    assert desk.heard.proposals == []


def test_weak_rsa_keys_are_refused(desk: Desk) -> None:
    token = desk.token()
    for name, make in WEAK_RSA.items():
        answer = desk.key({"publicKey": make(), "algorithm": "rsa"}, token)
        assert (answer.status_code, answer.json()["error"]) == (422, "weak_public_key"), name
    assert desk.heard.proposals == []


def test_control_good_keys_are_not_called_weak(desk: Desk) -> None:
    token = desk.token()
    for pem, algorithm in ((GOOD_EC, "ecc"), (GOOD_RSA, "rsa"), (GOOD_RSA.replace("\n", "\r\n"), "rsa")):
        assert desk.key({"publicKey": pem, "algorithm": algorithm}, token).status_code == 202
    assert len(desk.heard.proposals) == 3


def private_forms() -> dict[str, str]:
    key, closed = ec_key(), BestAvailableEncryption(b"word")
    return {
        "ec": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
        "pkcs8": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "encrypted": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, closed).decode(),
        "rsa": rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
        "openssh": key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        "public and private": GOOD_EC + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }


@pytest.mark.parametrize("form", [True, False], ids=["form", "json"])
def test_a_private_key_is_refused_and_nothing_of_it_stays(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture, form: bool
) -> None:
    token = desk.token()
    caplog.set_level(logging.DEBUG)
    for name, place in itertools.product(private_forms(), ["publicKey", "filename", "comment"]):
        secret = private_forms()[name]
        answer = sent(desk, {"publicKey": GOOD_EC, "algorithm": "ecc", place: secret}, token, form=form)
        said = answer.json()
        assert (answer.status_code, said["error"]) == (400, "private_key_sent"), (name, place)
        assert "make another pair" in said["error_description"]
        lines = [each for each in secret.splitlines() if len(each) > 30 and each not in GOOD_EC]
        assert lines
        kept = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()) + caplog.text + answer.text
        assert not [each for each in lines if each in kept]
    assert desk.heard.proposals == []


def sent(desk: Desk, fields: dict[str, str], token: str, *, form: bool) -> httpx2.Response:
    if not form:
        return desk.key(fields, token)
    body = "&".join(f"{key}={quote(value, safe='')}" for key, value in fields.items()).encode()
    headers = {"authorization": f"Bearer {token}", "content_type": "application/x-www-form-urlencoded"}
    return desk.ask("POST", f"/v1/provisioning/{DEVICE}", body, **headers)


def test_escaped_words_do_not_hide_a_private_key(desk: Desk) -> None:
    secret = private_forms()["pkcs8"].replace("PRIVATE", "\\u0050RIVATE")
    body = json.dumps({"publicKey": "X"}).replace("X", secret.replace("\n", "\\n")).encode()
    headers = {"authorization": f"Bearer {desk.token()}", "content_type": "application/json"}
    answer = desk.ask("POST", f"/v1/provisioning/{DEVICE}", body, **headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "private_key_sent")


def test_control_the_word_private_alone_is_no_key(desk: Desk) -> None:
    fields = {"publicKey": GOOD_EC, "algorithm": "ecc", "filename": "private key of bench 3.pub.pem"}
    assert desk.key(fields, desk.token()).status_code == 202
