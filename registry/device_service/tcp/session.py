"""An open session's bytes: frames of AES-128-CBC, each with its length in front, and one IV for each direction.

The next IV is the FIRST block of the last frame's ciphertext, not its last one: that is the protocol. There is no MAC:
a frame that was tampered with may decrypt to anything, so whatever is odd ends the session. Never says what was odd to
whoever sent it.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from registry.device_service.tcp.credentials import Credentials

BLOCK: Final = 16
MOST_BYTES: Final = 1_024
"""Of a message; a frame holds as many, padded."""
_LENGTH: Final = 2


class SessionError(Exception):
    """The session is over: what came is none of its messages. The text is for the registry's own log."""


class Session:
    """One device's session. Every call raises SessionError once it is over."""

    def __init__(self, credentials: Credentials) -> None:
        self._key = AES(credentials.key)
        self._sent = self._received = credentials.iv
        self._buffer = b""
        self._over = False

    def seal(self, message: bytes) -> bytes:
        """The message as a frame; it has 1 to MOST_BYTES."""
        if not 0 < len(message) <= MOST_BYTES:
            raise ValueError(f"a message of {len(message)} bytes: 1 to {MOST_BYTES} fit")
        self._require_open()
        missing = BLOCK - len(message) % BLOCK
        encryptor = Cipher(self._key, CBC(self._sent)).encryptor()
        sealed = encryptor.update(message + bytes([missing]) * missing) + encryptor.finalize()
        self._sent = sealed[:BLOCK]
        return len(sealed).to_bytes(_LENGTH) + sealed

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now, in their order; what is left of a frame waits for the rest of it."""
        self._require_open()
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH:
            size = int.from_bytes(self._buffer[:_LENGTH])
            if size % BLOCK or not 0 < size <= MOST_BYTES + BLOCK:
                raise self._end(f"a frame of {size} bytes")
            if len(self._buffer) < _LENGTH + size:
                break
            frame, self._buffer = self._buffer[_LENGTH : _LENGTH + size], self._buffer[_LENGTH + size :]
            messages.append(self._opened(frame))
        return messages

    def end(self) -> None:
        """Nothing more is sealed or opened."""
        self._over = True
        self._buffer = b""

    def _opened(self, frame: bytes) -> bytes:
        decryptor = Cipher(self._key, CBC(self._received)).decryptor()
        plain = decryptor.update(frame) + decryptor.finalize()
        self._received = frame[:BLOCK]
        missing = plain[-1]
        if not 0 < missing <= BLOCK or plain[-missing:] != bytes([missing]) * missing:
            raise self._end("a frame whose padding is none")
        if len(plain) == missing:
            raise self._end("an empty message")
        return plain[:-missing]

    def _end(self, why: str) -> SessionError:
        self.end()
        return SessionError(why)

    def _require_open(self) -> None:
        if self._over:
            raise SessionError("it is over")
