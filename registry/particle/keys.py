"""The public key of a proposal, read from what people put into that field. Pure; keeps and quotes nothing of it.

A private key that was sent by mistake is refused before anything parses it, and no error ever holds a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import gcd, isqrt
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.particle.words import ParticleError, bad_request
from trust.codes import Code
from trust.keys import KeyType, PublicKey, PublicKeyError

MOST_CHARACTERS: Final = 8_192
ALGORITHMS: Final[Mapping[str, KeyType]] = MappingProxyType({"rsa": KeyType.RSA_2048, "ecc": KeyType.EC_P256})
_PRIVATE = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY", re.IGNORECASE)
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")
_OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "-----BEGIN RSA PUBLIC KEY-----": "this is PKCS#1: openssl rsa -RSAPublicKey_in -pubout makes SPKI of it",
        "-----BEGIN CERTIFICATE": "this is a certificate: openssl x509 -pubkey -noout takes the key out of it",
        "ssh-": "this is OpenSSH's form: ssh-keygen -e -m PKCS8 makes SPKI of it",
        "ecdsa-": "this is OpenSSH's form: ssh-keygen -e -m PKCS8 makes SPKI of it",
        "---- BEGIN SSH2": "this is an SSH2 key: ssh-keygen -i, then ssh-keygen -e -m PKCS8 makes SPKI of it",
    }
)
_WANTED = "publicKey takes one PEM block, -----BEGIN PUBLIC KEY----- (SPKI)"
_SMALL_PRIMES_BELOW: Final = 2_000
_NEAR: Final = 1_000  # steps of Fermat's method: p and q that share their upper half and more
_ROCA: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)  # CVE-2017-15361's marks


def public_key(text: str, algorithm: str | None) -> PublicKey:
    """The key, of the algorithm that was named; ParticleError (400)."""
    _require_public(text)
    try:
        key = PublicKey.from_pem(text)
    except PublicKeyError as error:
        raise bad_request("invalid_public_key", _why(error)) from None
    if algorithm is not None and ALGORITHMS[algorithm] is not key.key_type:
        named = next(name for name, each in ALGORITHMS.items() if each is key.key_type)
        text = f"algorithm says {algorithm}, the key is {named}: find out which one the device uses, send that"
        raise bad_request("algorithm_mismatch", text)
    if (weakness := _weakness(key)) is not None:
        text = f"{weakness}: have the device make another key"
        raise ParticleError(422, "weak_public_key", Code.KEY_WEAK, text)
    return key


def holds_private(text: str) -> bool:
    """Whether a private key stands in it, in any of the PEM forms."""
    return _PRIVATE.search(text) is not None


def private_key_sent() -> ParticleError:
    """The answer to a private key, wherever in a body it stood."""
    text = (
        "this is a PRIVATE key; nothing of it was kept. It has left its place: do not use it, make another pair, and "
        "send the public half (openssl pkey -pubout)"
    )
    return bad_request("private_key_sent", text)


def _why(error: PublicKeyError) -> str:
    """What is wrong with the key, without the parser's own words: a newcomer's mistakes end here."""
    said = str(error)
    return f"what stands in it is no public key: {_WANTED}" if said.startswith("not a PEM") else said


def _require_public(text: str) -> None:
    if holds_private(text):
        raise private_key_sent()
    if len(text) > MOST_CHARACTERS:
        raise bad_request("invalid_public_key", f"{_WANTED} of at most {MOST_CHARACTERS} characters")
    if not text.strip():
        raise bad_request("invalid_public_key", f"publicKey is missing: {_WANTED}")
    if text.count("-----BEGIN") > 1:
        raise bad_request("invalid_public_key", "more than one PEM block: which of them is meant cannot be known")
    for start, remedy in _OTHERS.items():
        if text.lstrip().startswith(start):
            raise bad_request("invalid_public_key", f"{_WANTED}: {remedy}")
    if not _PEM.fullmatch(text):
        raise bad_request("invalid_public_key", f"{_WANTED} and nothing else")


def _weakness(key: PublicKey) -> str | None:
    """Why anybody could compute the private key; None if nothing that costs little to look at says so."""
    if key.modulus is None:
        return "its private key is 1" if key.spki in _private_keys_of_one() else None
    modulus = int.from_bytes(key.modulus)
    if gcd(modulus, _small_primes()) != 1:
        return "its modulus has a small factor"
    if _is_roca(modulus):
        return "its modulus is of the weak kind of CVE-2017-15361 (ROCA)"
    return "its two primes are too near each other" if _primes_are_near(modulus) else None


@cache
def _private_keys_of_one() -> frozenset[bytes]:
    """P-256's generator and its negative: what a generator of keys makes whose random numbers never come."""
    base = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    field = 2**256 - 2**224 + 2**192 + 2**96 - 1
    points = (base, ec.EllipticCurvePublicNumbers(base.x, field - base.y, ec.SECP256R1()))
    keys = (each.public_key() for each in points)
    return frozenset(each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in keys)


@cache
def _small_primes() -> int:
    """Their product."""
    product = 1
    for number in range(2, _SMALL_PRIMES_BELOW):
        if gcd(number, product) == 1:
            product *= number
    return product


def _is_roca(modulus: int) -> bool:
    """All of the modulus's residues are powers of 65537 (Nemec and others, CCS 2017, §5.2)."""
    return all(modulus % prime in {pow(65537, power, prime) for power in range(prime)} for prime in _ROCA)


def _primes_are_near(modulus: int) -> bool:
    root = isqrt(modulus - 1) + 1
    for middle in range(root, root + _NEAR):
        square = middle * middle - modulus
        if isqrt(square) ** 2 == square:
            return True
    return False
