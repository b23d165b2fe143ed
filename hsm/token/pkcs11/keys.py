"""The keys on a token as PKCS#11 shows them: found by label, public halves as DER SubjectPublicKeyInfo.

Each label has exactly one key pair, and no private key may leave the token. Never signs, makes or changes a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass

from hsm.purposes import DECRYPTS
from hsm.token import TokenError
from hsm.token.profile import NEVER_LEAVES, SIGNS_ONLY, Profile

T = TypeVar("T")
_OCTET_STRING: Final = 0x04
_NOT_READABLE: Final = (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive)


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """A token's private keys, as handles of one session, and their public keys, by label."""

    private: Mapping[str, Any]
    public: Mapping[str, bytes]


def look_up(session: pkcs11.Session, profile: Profile) -> TokenKeys:
    """All keys by label, once, each private one as the profile requires; TokenError."""
    private = _by_label(session, ObjectClass.PRIVATE_KEY)
    for label, key in private.items():
        require_attributes(label, key, profile)
    public = _by_label(session, ObjectClass.PUBLIC_KEY)
    missing = private.keys() - public.keys()
    if missing and profile.public_beside:
        raise TokenError(f"the token has no public key for {', '.join(sorted(missing))}")
    return TokenKeys(private, {label: _public_half(label, private[label], public.get(label)) for label in private})


def require_attributes(label: str, key: Any, profile: Profile) -> None:
    """Refuse a private key that may leave the token, was not made in it, or does more than its purpose; TokenError."""
    for name, value in {**profile.where_readable, **profile.required}.items():
        if name == "DECRYPT" and label in DECRYPTS:
            continue
        try:
            found = bool(key[Attribute[name]])
        except _NOT_READABLE as error:
            if name not in profile.required:
                continue
            text = f"key {label!r}: the token does not tell CKA_{name} ({type(error).__name__})"
            raise TokenError(f"{text}: it cannot be used as {profile.title}; correct profile") from error
        if found != value:
            raise TokenError(f"key {label!r} has CKA_{name} {'true' if found else 'false'}: {_meaning(name)}")


def told(key: Any, profile: Profile) -> tuple[str, ...]:
    """The attributes that a profile looks at, as the token tells them: for people."""
    said = []
    for name in sorted({**profile.where_readable, **profile.required}):
        try:
            said.append(f"CKA_{name} {'true' if key[Attribute[name]] else 'false'}")
        except _NOT_READABLE:
            said.append(f"CKA_{name} not told")
    return tuple(said)


def named(keys: Mapping[str, T], label: str) -> T:
    """The key with this label; TokenError if the token has none."""
    if label not in keys:
        raise TokenError(f"the token has no key labelled {label!r} (it has: {', '.join(sorted(keys)) or 'none'})")
    return keys[label]


def spki_of(key: Any) -> bytes:
    """DER SubjectPublicKeyInfo of a public key's handle; TokenError for a type that nobody uses."""
    match key.key_type:
        case KeyType.RSA:
            modulus, exponent = (int.from_bytes(key[each]) for each in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
            return _der(rsa.RSAPublicNumbers(exponent, modulus).public_key())
        case KeyType.EC:
            return _der(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _point(key, 65)))
        case KeyType.EC_EDWARDS:
            return _der(ed25519.Ed25519PublicKey.from_public_bytes(_point(key, 32)))
        case other:
            raise TokenError(f"key {key.label!r} is of type {other!r}: only EC P-256, Ed25519 and RSA are used")


def _meaning(name: str) -> str:
    if name in NEVER_LEAVES:
        return "it can be read out of the token: make a token whose keys are sensitive, not extractable"
    if name in SIGNS_ONLY:
        return "a signing key signs and does nothing else: make it anew with station-signer init"
    return "it was not made inside this token, or not kept there: make it anew with station-signer init"


def _public_half(label: str, private: Any, public: Any | None) -> bytes:
    """From the public key object, else from what the private one shows: modulus or curve point."""
    if public is not None:
        return spki_of(public)
    try:
        return spki_of(private)
    except _NOT_READABLE as error:
        raise TokenError(f"the token has no public key for {label}, and its private key does not show it") from error


def _by_label(session: pkcs11.Session, kind: ObjectClass) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in list(session.get_objects({Attribute.CLASS: kind})):
        label = str(key[Attribute.LABEL])
        if label in found:
            raise TokenError(f"the token has two keys labelled {label!r}: remove one")
        found[label] = key
    return found


def _point(key: Any, size: int) -> bytes:
    """CKA_EC_POINT without its OCTET STRING wrapper, which some tokens leave out."""
    value = bytes(key[Attribute.EC_POINT])
    point = value[2:] if len(value) == size + 2 and value[0] == _OCTET_STRING else value
    if len(point) != size:
        raise TokenError(f"key {key.label!r}: a curve point of {len(value)} bytes; only P-256 and Ed25519 are used")
    return point


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
