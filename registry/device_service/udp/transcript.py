"""What both sides said in a handshake, as the device's CertificateVerify signs it: that hash names the handshake.

Pure but for its own place. Sources: RFC 6347 §4.2.6 (each message as if unfragmented, without the first hello and the
cookie's request), RFC 5246 §7.4.8.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

_CLIENT_HELLO, _CERTIFICATE_VERIFY, _CLIENT_KEY_EXCHANGE = 1, 15, 16
_RANDOM: Final = slice(2, 34)
_POINT_FROM: Final = 1
_SIGNATURE_FROM: Final = 4
_LAST_KIND: Final = 24  # what is above is none on the wire (the library shows ChangeCipherSpec so)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What no two handshakes of the fleet may share, and what ties the device's key to this one."""

    client_random: bytes
    """32 bytes."""
    client_point: bytes
    """The device's half of the key agreement: 65 bytes, uncompressed."""
    transcript: bytes
    """SHA-256, 32 bytes."""
    signature: bytes
    """The device's, ECDSA in DER, over the transcript."""


class Transcript:
    """Takes every message in its order; `read` and `write` are the numbers of the first of each side."""

    def __init__(self, read: int, write: int) -> None:
        self._numbers = {True: read, False: write}
        self._hash = hashlib.sha256()
        self._random = self._point = self._signature = b""

    def see(self, kind: int, incoming: bool, body: bytes) -> None:  # noqa: FBT001 - as the library tells it
        """One message: its type, whether the device has sent it, and its body without header."""
        if kind > _LAST_KIND or self._signature:
            return
        if kind == _CERTIFICATE_VERIFY:
            self._signature = body[_SIGNATURE_FROM:]
            return
        number, self._numbers[incoming] = self._numbers[incoming], self._numbers[incoming] + 1
        size = len(body).to_bytes(3)
        self._hash.update(bytes([kind]) + size + number.to_bytes(2) + bytes(3) + size + body)
        if kind == _CLIENT_HELLO:
            self._random = body[_RANDOM]
        if kind == _CLIENT_KEY_EXCHANGE:
            self._point = body[_POINT_FROM:]

    def exchanged(self) -> Exchanged:
        """What it has come to, once the device has signed."""
        return Exchanged(
            client_random=self._random,
            client_point=self._point,
            transcript=self._hash.digest(),
            signature=self._signature,
        )
