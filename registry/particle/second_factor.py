"""`mfa_token`: that somebody has shown a user's password a moment ago, carried by the client until the code comes.

Sealed under the secret of the day that all processes share, so any of them takes it. It opens nothing by itself: the
one-time code does, each once, and each try at it is counted. Void when anything about the user has changed since.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registry.access.jws import JwsError, decode, encode
from registry.access.nonces import DAY_S

LASTS_S: Final = 300  # to find one's telephone
_PURPOSE: Final = b"particle-mfa"
_USER, _NUMBER, _TIME, _SEAL = 16, 8, 8, 32
_BYTES: Final = _USER + _NUMBER + _TIME + _SEAL


@dataclass(frozen=True, slots=True)
class Shown:
    """Whose password it was, and what was known of the user then (`State.number`)."""

    user_id: str
    number: int


class SecondFactor:
    """Seals and opens. `secret` gives the secret of a day, numbered from 1970."""

    def __init__(self, secret: Callable[[int], bytes], now: Callable[[], datetime]) -> None:
        self._secret = secret
        self._now = now

    def sealed(self, shown: Shown) -> str:
        """Good for five minutes."""
        until = self._now_s() + LASTS_S
        said = bytes.fromhex(shown.user_id) + shown.number.to_bytes(_NUMBER) + until.to_bytes(_TIME)
        return encode(said + self._seal(said, until))

    def opened(self, token: str) -> Shown | None:
        """What it says; None if it is none of ours, or over."""
        try:
            raw = decode(token)
        except JwsError:
            return None
        if len(raw) != _BYTES:
            return None
        said, seal = raw[:-_SEAL], raw[-_SEAL:]
        until = int.from_bytes(said[-_TIME:])
        if not self._now_s() <= until <= self._now_s() + LASTS_S:
            return None
        if not hmac.compare_digest(seal, self._seal(said, until)):
            return None
        return Shown(said[:_USER].hex(), int.from_bytes(said[_USER : _USER + _NUMBER]))

    def _seal(self, said: bytes, until: int) -> bytes:
        return hmac.digest(self._secret(until // DAY_S), _PURPOSE + said, "sha256")

    def _now_s(self) -> int:
        return int(self._now().timestamp())
