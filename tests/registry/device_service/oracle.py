"""The device's side of the TCP service in plain numbers: RSA by `pow`, CBC by single AES blocks. Shares no code with it.

Sources: RFC 8017 §7.2 and §9.2, and what is published of the protocol (docs/decisions/0039).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from tests.registry.device_service.seeded import Rsa


def type_2(message: bytes, size: int, filling: bytes) -> bytes:
    """Block type 02 of so many bytes; `filling` is as long as it has to be, or longer, and has no zero."""
    room = size - 3 - len(message)
    assert room >= 8 and len(filling) >= room and 0 not in filling[:room]
    return b"\x00\x02" + filling[:room] + b"\x00" + message


def untyped(block: bytes, kind: int) -> bytes:
    """What stands in a block of this type."""
    assert block[:2] == bytes([0, kind])
    end = block.index(0, 2)
    assert end >= 10
    return block[end + 1 :]


@dataclass(slots=True)
class OracleDevice:
    """A device that does what the protocol wants, and what it is told to do otherwise."""

    own: Rsa
    cloud: Rsa
    device_id: bytes
    filling: bytes = bytes(range(1, 256))
    credentials: bytes = b""
    _sent: bytes = b""
    _received: bytes = b""
    spki: bytes = field(default=b"")

    def message_2(self, nonce: bytes) -> bytes:
        """With the key, if `spki` is set."""
        plain = nonce + self.device_id + self.spki
        return self.cloud.public(type_2(plain, self.cloud.size, self.filling))

    def read_3(self, message_3: bytes) -> None:
        """Take the credentials; AssertionError if the cloud's signature is not over them."""
        hidden, signature = message_3[: self.own.size], message_3[self.own.size :]
        assert len(signature) == self.cloud.size
        self.credentials = untyped(self.own.private(hidden), 2)
        assert len(self.credentials) == 40
        mac = hmac.new(self.credentials, hidden, hashlib.sha1).digest()
        assert untyped(self.cloud.public(signature), 1) == mac
        self._sent = self._received = self.credentials[16:32]

    @property
    def first_id(self) -> int:
        return (self.credentials[32] + 256 * self.credentials[33] + 1) & 0xFFFF

    def seal(self, message: bytes) -> bytes:
        missing = 16 - len(message) % 16
        return self.seal_blocks(message + bytes([missing]) * missing)

    def seal_blocks(self, padded: bytes) -> bytes:
        """A frame of what is padded already, rightly or wrongly."""
        previous, sealed = self._sent, b""
        for at in range(0, len(padded), 16):
            block = bytes(a ^ b for a, b in zip(padded[at : at + 16], previous, strict=True))
            previous = self._block(block, encrypt=True)
            sealed += previous
        self._sent = sealed[:16]
        return len(sealed).to_bytes(2, "big") + sealed

    def open(self, frame: bytes) -> bytes:
        size, sealed = int.from_bytes(frame[:2], "big"), frame[2:]
        assert size == len(sealed) and size % 16 == 0
        previous, plain = self._received, b""
        for at in range(0, size, 16):
            block = sealed[at : at + 16]
            plain += bytes(a ^ b for a, b in zip(self._block(block, encrypt=False), previous, strict=True))
            previous = block
        self._received = sealed[:16]
        missing = plain[-1]
        assert 1 <= missing <= 16 and plain[-missing:] == bytes([missing]) * missing
        return plain[:-missing]

    def _block(self, block: bytes, *, encrypt: bool) -> bytes:
        cipher = Cipher(AES(self.credentials[:16]), ECB())  # one block at a time, chained above
        made = cipher.encryptor() if encrypt else cipher.decryptor()
        return made.update(block) + made.finalize()
