"""What the signer needs of a token: raw signatures by key label. The rest of PKCS#11 stays in `hsm.token.pkcs11`.

A token never decides what may be signed (that is `hsm.policy`) and never hands out a private key.
"""

from __future__ import annotations

from typing import Protocol

DIGEST_BYTES = 32
RSA_BYTES = 256
MOST_RAW_BYTES = 64


class TokenError(Exception):
    """The token refused or is not what it should be; the text says what to do."""


class TokenUnavailableError(TokenError):
    """The token does not answer, also after reconnecting. It has signed nothing for this call; asking again is safe."""


class SignatureUnknownError(TokenUnavailableError):
    """A signature was asked for and not given: it may have been made. Count a re-sign, then ask again."""


class TokenPinWrongError(TokenError):
    """The token refused the user PIN, or has one try left. Never tried again by this process."""


class Token(Protocol):
    """A logged-in token. Blocking; every call raises TokenError or one of its two kinds only."""

    @property
    def label(self) -> str:
        """The token's label."""

    @property
    def model(self) -> str:
        """The token's model, as it says itself."""

    @property
    def profile(self) -> str:
        """By which profile its module is used, and whether that was tried: a line for people."""

    @property
    def trouble(self) -> str:
        """Why no answer is to be expected now, empty if nothing is known against it. Never waits; for any thread."""

    def signatures_made(self) -> int | None:
        """How many signatures the token itself says it has made, ever; None where its module cannot say."""

    def labels(self) -> frozenset[str]:
        """Labels of the private keys on the token."""

    def public_key(self, label: str) -> bytes:
        """DER SubjectPublicKeyInfo of the key."""

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        """ECDSA signature in DER over a SHA-256 digest of 32 bytes."""

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes, over the message (RFC 8032, pure)."""

    def sign_rsa(self, label: str, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 over the bytes themselves, at most 64, without DigestInfo: CKM_RSA_PKCS, C_Sign."""

    def open_rsa(self, label: str, ciphertext: bytes) -> bytes | None:
        """What was encrypted to the key (RSAES-PKCS1-v1_5, RFC 8017 §7.2); None for whatever does not open."""

    def close(self) -> None:
        """Log out and let go of the token; further calls fail."""
