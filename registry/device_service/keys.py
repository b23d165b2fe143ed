"""The cloud signer's handshake keys for many threads: several lines to one socket, each for one thread at a time.

A line that was lost is made again by the next call on it, so that a signer that was away needs nothing done here.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from hsm.signer import HandshakeKeys, SignerError, SignerUnavailableError
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport

_WAIT_S: Final = 5.0


class Lines:
    """A `hsm.signer.HandshakeKeys` over several others. Blocks while all are taken, for at most five seconds."""

    def __init__(self, lines: Iterable[HandshakeKeys]) -> None:
        self._free: queue.LifoQueue[HandshakeKeys] = queue.LifoQueue()
        for each in lines:
            self._free.put(each)

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """What follows the nonce."""
        with self._one() as line:
            return line.tcp_open(ciphertext, nonce)

    def tcp_sign(self, mac: bytes) -> bytes:
        """The MAC, signed."""
        with self._one() as line:
            return line.tcp_sign(mac)

    def dtls_sign(self, digest: bytes) -> bytes:
        """The digest, signed."""
        with self._one() as line:
            return line.dtls_sign(digest)

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        """The report, signed."""
        with self._one() as line:
            return line.sign_handshake(report)

    @contextmanager
    def _one(self) -> Iterator[HandshakeKeys]:
        try:
            line = self._free.get(timeout=_WAIT_S)
        except queue.Empty as error:
            raise SignerUnavailableError(f"all lines to the signer have been busy for {_WAIT_S:g} s") from error
        try:
            yield line
        finally:
            self._free.put(line)


class Watched:
    """What one TCP handshake asks of them. `trouble` is what kept the signer from answering, if that is why it failed.

    That a device's message was refused is no trouble of the signer's.
    """

    def __init__(self, keys: HandshakeKeys) -> None:
        self._keys = keys
        self.trouble: Exception | None = None

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """What follows the nonce."""
        with self._watching():
            return self._keys.tcp_open(ciphertext, nonce)

    def tcp_sign(self, mac: bytes) -> bytes:
        """The MAC, signed."""
        with self._watching():
            return self._keys.tcp_sign(mac)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except (SignerError, SignerUnavailableError) as error:
            if not isinstance(error, SignerError) or error.code is not Code.HANDSHAKE_REFUSED:
                self.trouble = error
            raise
