"""Nonces for DPoP proofs: what a registry process gives, every other one takes (RFC 9449 §8, §9).

A nonce is an HMAC over the minute, under a secret of the day that all processes find in the database. It is taken in
its own minute and the one after, and in the one before, for a process whose clock is behind. Remembers none that it
gave, so one may be used many times: the proof's `jti` is what is good once.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime

from registry.access.jws import encode

LASTS_S = 60
DAY_S = 86_400
_NONCE_BYTES = 16
_NEAR = (0, -1, 1)  # minutes


class Nonces:
    """What is current. `secret` gives the secret of a day, numbered from 1970, the same one in every process."""

    def __init__(self, secret: Callable[[int], bytes], now: Callable[[], datetime]) -> None:
        self._secret = secret
        self._now = now

    def current(self) -> str:
        """To be given now."""
        return self._of(self._minute())

    def known(self, nonce: str) -> bool:
        """Whether some process has given it of late."""
        minute, given = self._minute(), nonce.encode()
        return any(hmac.compare_digest(given, self._of(minute + near).encode()) for near in _NEAR)

    def _minute(self) -> int:
        return int(self._now().timestamp()) // LASTS_S

    def _of(self, minute: int) -> str:
        secret = self._secret(minute * LASTS_S // DAY_S)
        return encode(hmac.digest(secret, b"dpop-nonce" + minute.to_bytes(8, "big"), "sha256")[:_NONCE_BYTES])
