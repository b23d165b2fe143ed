"""A role's keys at work: signs what other modules composed and believes no signature that it has not verified itself.

Public keys are asked of the token once: a token whose keys have changed under a running signer fails the verification.
Never decides what may be signed and never counts.
"""

from __future__ import annotations

import hashlib

from hsm.purposes import Purpose
from hsm.token import Token, TokenError
from trust.dsse import Envelope, Signature, pae
from trust.keys import PublicKey


class SigningKeys:
    """The token's keys by purpose, but for the log's."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._public: dict[Purpose, tuple[PublicKey, str]] = {}

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        """ECDSA with SHA-256 in DER, checked against the public key before it leaves; TokenError."""
        key, _ = self._key(purpose)
        signature = self._token.sign_ecdsa(purpose, hashlib.sha256(message).digest())
        if not key.verifies(signature, message):
            raise self._wrong(purpose)
        return signature

    def sign_digest(self, purpose: Purpose, digest: bytes) -> bytes:
        """ECDSA in DER over a SHA-256 digest that others have made, checked before it leaves; TokenError."""
        signature = self._token.sign_ecdsa(purpose, digest)
        if not self._key(purpose)[0].verifies_digest(signature, digest):
            raise self._wrong(purpose)
        return signature

    def sign_mac(self, purpose: Purpose, mac: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 over a MAC as it is, without DigestInfo, checked before it leaves; TokenError."""
        signature = self._token.sign_rsa(purpose, mac)
        if self._key(purpose)[0].recovers(signature) != mac:
            raise self._wrong(purpose)
        return signature

    def open(self, purpose: Purpose, ciphertext: bytes) -> bytes | None:
        """What was encrypted to the purpose's key; None for whatever does not open. TokenError."""
        return self._token.open_rsa(purpose, ciphertext)

    def envelope(self, purpose: Purpose, payload_type: str, payload: bytes) -> Envelope:
        """The payload in an envelope with this purpose's signature; TokenError."""
        signature = self.sign(purpose, pae(payload_type, payload))
        return Envelope(payload, payload_type, (Signature(self.fingerprint(purpose), signature),))

    def fingerprint(self, purpose: Purpose) -> str:
        """SHA-256 of the purpose's public key; TokenError."""
        return self._key(purpose)[1]

    @staticmethod
    def _wrong(purpose: Purpose) -> TokenError:
        return TokenError(f"the token's {purpose} signature does not verify: take the token out of use")

    def _key(self, purpose: Purpose) -> tuple[PublicKey, str]:
        if purpose not in self._public:
            key = PublicKey.from_der(self._token.public_key(purpose))
            self._public[purpose] = (key, key.fingerprint)
        return self._public[purpose]
