"""Public keys of devices, clouds and signers, and their fingerprints: where their bytes become a key we speak about.

Keys of logs, which may be Ed25519, are read in `trust.signed_note` and nowhere else.
Never sees a private key, never opens a file. Parsing is strict: DER SubjectPublicKeyInfo in its one canonical
encoding (re-encoded and compared), EC P-256 as a named curve with an uncompressed point, RSA-2048 with e = 65537.
RSA-1024 is taken where a caller says that it deals with a legacy product's device, and nowhere else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

_RSA_EXPONENT = 65537
_DIGEST = 32


class PublicKeyError(ValueError):
    """Not a key that this product takes; the text says why."""


class KeyType(StrEnum):
    """The key types a device or cloud may have."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"
    RSA_1024 = "rsa-1024"  # of legacy products' devices; breakable with means that states have (NIST SP 800-131A r2)


_RSA_TYPES: Final = MappingProxyType({2048: KeyType.RSA_2048, 1024: KeyType.RSA_1024})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A parsed public key; equal when the SubjectPublicKeyInfo bytes are."""

    spki: bytes
    key_type: KeyType

    @classmethod
    def from_der(cls, spki: bytes, *, legacy: bool = False) -> Self:
        """From DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7); raises PublicKeyError for anything else.

        `legacy`: it is a device's, and RSA-1024 will do as far as this is concerned; whether an order allows that is
        for others to say.
        """
        try:
            key = _loaded(spki)
        except (ValueError, UnsupportedAlgorithm, TypeError) as error:
            raise PublicKeyError(f"not a DER SubjectPublicKeyInfo: {error}") from error
        if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
            raise PublicKeyError(
                "not the canonical encoding of this key: explicit parameters, compressed point or extra bytes"
            )
        return cls(spki, _key_type(key, legacy=legacy))

    @classmethod
    def from_pem(cls, pem: str) -> Self:
        """From exactly one PEM public key; raises PublicKeyError."""
        if not pem.strip():
            raise PublicKeyError("it is empty: a PEM public key begins with -----BEGIN PUBLIC KEY-----")
        if pem.count("-----BEGIN") > 1:
            raise PublicKeyError("more than one PEM block: which of them is meant cannot be known")
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm, TypeError) as error:
            raise PublicKeyError(f"not a PEM public key: {error}") from error
        return cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), _key_type(key, legacy=False))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, 64 hex digits."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def modulus(self) -> bytes | None:
        """An RSA key's modulus, big-endian, as long as it has to be; None for EC."""
        key = _loaded(self.spki)
        return key.public_numbers().n.to_bytes(key.key_size // 8) if isinstance(key, rsa.RSAPublicKey) else None

    def to_pem(self) -> str:
        """PEM SubjectPublicKeyInfo, as OpenSSL reads it."""
        key = _loaded(self.spki)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this SHA-256 signature over the message is ours: ECDSA in DER (FIPS 186-5) or RSASSA-PKCS1-v1_5."""
        return _holds(self.spki, signature, hashlib.sha256(message).digest())

    def verifies_digest(self, signature: bytes, digest: bytes) -> bool:
        """As `verifies`, over a SHA-256 digest that others have made; for EC keys, False for others."""
        return self.key_type is KeyType.EC_P256 and len(digest) == _DIGEST and _holds(self.spki, signature, digest)

    def recovers(self, signature: bytes) -> bytes | None:
        """What stands in an RSASSA-PKCS1-v1_5 signature without DigestInfo (RFC 8017 §9.2); None if it is none."""
        key = _loaded(self.spki)
        if not isinstance(key, rsa.RSAPublicKey):
            return None
        try:
            return key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
        except InvalidSignature:
            return None

    def __repr__(self) -> str:
        return f"PublicKey({self.key_type.value} {self.fingerprint[:16]})"


@lru_cache(maxsize=64)
def _loaded(spki: bytes) -> PublicKeyTypes:
    """Parsing costs a tenth of a verification, and one unit's key is used a dozen times."""
    return load_der_public_key(spki)


@lru_cache(maxsize=8192)
def _holds(spki: bytes, signature: bytes, digest: bytes) -> bool:
    """Kept, as it is for ever what it is once: who reads a device's papers again and again computes it once."""
    key, sha256 = _loaded(spki), Prehashed(hashes.SHA256())
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(sha256))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), sha256)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _key_type(key: object, *, legacy: bool) -> KeyType:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise PublicKeyError(f"curve {key.curve.name}: only P-256 is taken")
        return KeyType.EC_P256
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        found = _RSA_TYPES.get(numbers.n.bit_length())
        if found is None or numbers.e != _RSA_EXPONENT or (found is KeyType.RSA_1024 and not legacy):
            raise PublicKeyError(
                f"RSA with {numbers.n.bit_length()} bits and e = {numbers.e}: only 2048 bits with e = 65537 is taken"
            )
        return found
    raise PublicKeyError(f"{type(key).__name__}: only EC P-256 and RSA-2048 are taken")
