"""A token made of files: the keys of a role as PEM in a directory, so that forked and spawned processes share it.

Implements `hsm.token.Token` with the same shapes as `hsm.token.pkcs11`. For tests only: it protects nothing. `signed` counts what
this object signed; `fail_next` makes the next signing calls raise, in order.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from hsm.purposes import KEYS, KeyKind, RoleName
from hsm.token import DIGEST_BYTES, TokenError
from trust.dsse import Envelope, Signature
from trust.statement import Statement, envelope

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class SoftwareToken:
    """A `hsm.token.Token` over `directory/<label>.pem`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[str, Key] = {}
        self.signed: Counter[str] = Counter()
        self.fail_next: list[TokenError] = []
        self.tells: int | None = None

    @classmethod
    def make(cls, directory: Path, role: RoleName, *, ed25519_log: bool = True, rsa_keys: bool = True) -> SoftwareToken:
        """New keys for every purpose of the role; RSA (slow) may be left out."""
        directory.mkdir(parents=True, exist_ok=True)
        for label, kind in KEYS[role].items():
            if kind is KeyKind.RSA_2048 and not rsa_keys:
                continue
            pem = _new_key(kind, ed25519_log=ed25519_log).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            (directory / f"{label}.pem").write_bytes(pem)
        return cls(directory)

    def signatures_made(self) -> int | None:
        return self.tells

    @property
    def label(self) -> str:
        return self._directory.name

    @property
    def model(self) -> str:
        return "software"

    @property
    def profile(self) -> str:
        return "software"

    @property
    def trouble(self) -> str:
        return ""

    def labels(self) -> frozenset[str]:
        return frozenset(path.stem for path in self._directory.glob("*.pem"))

    def public_key(self, label: str) -> bytes:
        return self._key(label).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        key = self._key(label)
        if len(digest) != DIGEST_BYTES or not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TokenError(f"{label}: not an EC key or not a digest")
        self._begin(label)
        return key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        key = self._key(label)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise TokenError(f"{label}: not an Ed25519 key")
        self._begin(label)
        return key.sign(message)

    def sign_rsa(self, label: str, data: bytes) -> bytes:
        self._begin(label)
        return self._rsa(label).sign(data, padding.PKCS1v15(), NoDigestInfo())

    def open_rsa(self, label: str, ciphertext: bytes) -> bytes | None:
        """OpenSSL gives random bytes for a padding that is wrong: not None, and of any length."""
        try:
            return self._rsa(label).decrypt(ciphertext, padding.PKCS1v15())
        except ValueError:  # not below the modulus
            return None

    def _rsa(self, label: str) -> rsa.RSAPrivateKey:
        key = self._key(label)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TokenError(f"{label}: not an RSA key")
        return key

    def close(self) -> None:
        self._keys.clear()

    def keys(self) -> dict[str, bytes]:
        """Public keys (SPKI DER) by label."""
        return {label: self.public_key(label) for label in sorted(self.labels())}

    def _begin(self, label: str) -> None:
        if self.fail_next:
            raise self.fail_next.pop(0)
        self.signed[label] += 1

    def _key(self, label: str) -> Key:
        if label not in self._keys:
            path = self._directory / f"{label}.pem"
            if not path.is_file():
                raise TokenError(f"no key {label}")
            key = load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
            assert isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey)
            self._keys[label] = key
        return self._keys[label]


def _new_key(kind: KeyKind, *, ed25519_log: bool) -> Key:
    if kind is KeyKind.RSA_2048:
        return rsa.generate_private_key(65537, 2048)
    if kind is KeyKind.LOG and ed25519_log:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def sealed(token: SoftwareToken, statement: Statement, label: str) -> Envelope:
    """Any statement signed by any key of a token, past every rule: what each party must be able to tell apart."""
    bare = envelope(statement)
    signature = token.sign_ecdsa(label, hashlib.sha256(bare.pae).digest())
    keyid = hashlib.sha256(token.public_key(label)).hexdigest()
    return msgspec.structs.replace(bare, signatures=(Signature(keyid, signature),))
