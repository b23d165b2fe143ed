"""The station's own DPoP key, in memory only, and proofs made with it (RFC 9449 §4.2): this request, now, by us.

The key is made with the process and dies with it; it proves who uses an access token, and nothing about a device.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_SCALAR_BYTES, _JTI_BYTES = 32, 16


class DpopKey:
    """A fresh P-256 key."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        jwk = {"crv": "P-256", "kty": "EC", "x": _scalar(numbers.x), "y": _scalar(numbers.y)}
        self._header = _part({"alg": "ES256", "jwk": jwk, "typ": "dpop+jwt"})

    def proof(self, method: str, url: str, *, token: str | None, nonce: str | None) -> str:
        """A proof for one request; `token` is the access token that goes with it, `nonce` the registry's newest."""
        claims: dict[str, object] = {
            "htm": method, "htu": url, "iat": int(self._now()), "jti": secrets.token_hex(_JTI_BYTES),
        }  # fmt: skip
        if token is not None:
            claims["ath"] = _base64url(hashlib.sha256(token.encode()).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        signed = f"{self._header}.{_part(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(_SCALAR_BYTES) + s.to_bytes(_SCALAR_BYTES))}"


def _scalar(number: int) -> str:
    return _base64url(number.to_bytes(_SCALAR_BYTES))


def _part(value: dict[str, object]) -> str:
    return _base64url(msgspec.json.encode(value, order="sorted"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
