"""What both sides of a session share: 40 random bytes, and how they come to the device in message 3.

Encrypted to the device's pinned key, so that no other can go on, and signed by the cloud's, which the device has in its
anchor. Sources: RFC 8017 §7.2 and §9.2 (PKCS #1 v1.5), RFC 2104 (HMAC), docs/decisions/0039.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa

BYTES: Final = 40
_KEY, _IV, _SALT = slice(0, 16), slice(16, 32), slice(32, 40)
_NUMBERS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Credentials:
    """AES key, first IV of both directions, and salt."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.raw) != BYTES:
            raise ValueError(f"credentials have {BYTES} bytes, not {len(self.raw)}")

    @property
    def key(self) -> bytes:
        """Of AES-128, 16 bytes."""
        return self.raw[_KEY]

    @property
    def iv(self) -> bytes:
        """Both directions begin with it, 16 bytes."""
        return self.raw[_IV]

    @property
    def first_id(self) -> int:
        """Message id of the device's first message: its counter starts at the salt's first two bytes, little-endian."""
        return (int.from_bytes(self.raw[_SALT][:2], "little") + 1) % _NUMBERS

    def message_3(self, device_key: rsa.RSAPublicKey, sign: Callable[[bytes], bytes]) -> bytes:
        """As long as the device key's modulus, and 256 bytes more: the signature over the HMAC of what is before it.

        `sign` takes the 20 bytes of HMAC-SHA1 and gives 256.
        """
        hidden = device_key.encrypt(self.raw, padding.PKCS1v15())
        return hidden + sign(hmac.digest(self.raw, hidden, "sha1"))
