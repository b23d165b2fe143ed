"""Messages 1 to 3: the nonce, what the device answers to it, and what opens a session. Blocking, as its signer is.

A device that is refused is never told why, and the reason here is for log and counters alone: wrong padding, nonce, id
and key end in the same error. Possession of the key is proved by what comes after: only its owner reads message 3.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.signer import NONCE_BYTES, SignerError
from registry.device_service.tcp.claim import Claim, ClaimError
from registry.device_service.tcp.credentials import BYTES, Credentials
from trust.codes import Code
from trust.identity import DeviceId

MESSAGE_2_BYTES: Final = 256


class RefusedHandshakeError(Exception):
    """No session. `reason` is a word for counters, and never for the device."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TcpKeys(Protocol):
    """What this needs of `hsm.signer.HandshakeKeys`; both raise SignerError, SignerUnavailableError."""

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """What follows the nonce."""

    def tcp_sign(self, mac: bytes) -> bytes:
        """The MAC, signed."""


class Pins(Protocol):
    """Which key a device may come with on this way in."""

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """DER SubjectPublicKeyInfo of the device's keys that are good now, the newest first; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The device that a session was opened for, and what to send it; its key is proved by its first message."""

    device_id: DeviceId
    spki: bytes
    credentials: Credentials
    message_3: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """One device's handshake, from its nonce on. `nonce` is message 1."""

    nonce: bytes
    keys: TcpKeys
    pins: Pins
    random: Callable[[int], bytes]

    @classmethod
    def begin(cls, keys: TcpKeys, pins: Pins, random: Callable[[int], bytes] = secrets.token_bytes) -> Self:
        """With a fresh nonce."""
        return cls(nonce=random(NONCE_BYTES), keys=keys, pins=pins, random=random)

    def accept(self, message_2: bytes) -> Accepted:
        """What opens the session, by the device's 256 bytes; RefusedHandshakeError, or SignerUnavailableError."""
        claim = self._claim(message_2)
        good = self.pins.keys_of(claim.device_id)
        if not good:
            raise RefusedHandshakeError("not-pinned")
        # The short form does not say which of two: then it is the newest, and an older one must be sent along.
        spki = next((each for each in good if claim.fits(each)), None)
        if spki is None:
            raise RefusedHandshakeError("other-key")
        key = load_der_public_key(spki)
        if not isinstance(key, rsa.RSAPublicKey):
            raise RefusedHandshakeError("other-key-type")
        credentials = Credentials(self.random(BYTES))
        message_3 = credentials.message_3(key, self.keys.tcp_sign)
        return Accepted(device_id=claim.device_id, spki=spki, credentials=credentials, message_3=message_3)

    def _claim(self, message_2: bytes) -> Claim:
        if len(message_2) != MESSAGE_2_BYTES:
            raise RefusedHandshakeError("not-opened")
        try:
            return Claim.parse(self.keys.tcp_open(message_2, self.nonce))
        except SignerError as error:
            if error.code is not Code.HANDSHAKE_REFUSED:
                raise
            raise RefusedHandshakeError("not-opened") from error
        except ClaimError as error:
            raise RefusedHandshakeError("not-opened") from error
