"""ECDSA as a device with a broken random number generator makes it: with the nonce that it is told to use."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256 (FIPS 186-5)."""


def sign(key: ec.EllipticCurvePrivateKey, message: bytes, nonce: int) -> bytes:
    """FIPS 186-5 §6.4 with this nonce: r is the same for every message, and two of them give the key away."""
    r = ec.derive_private_key(nonce, ec.SECP256R1()).public_key().public_numbers().x % P256_ORDER
    digest = int.from_bytes(hashlib.sha256(message).digest())
    return encode_dss_signature(
        r, pow(nonce, -1, P256_ORDER) * (digest + r * key.private_numbers().private_value) % P256_ORDER
    )
