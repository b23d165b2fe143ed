"""The HTTP status of each refusal by its code, of a request or of a line of a batch. Never decides what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trust.codes import Code

_STATUS: Final[Mapping[Code, int]] = MappingProxyType(
    {
        Code.MALFORMED: 400,
        Code.CLIENT_UNKNOWN: 400,
        Code.ASSERTION_INVALID: 400,
        Code.ASSERTION_TIME: 400,
        Code.ASSERTION_USED: 400,
        Code.ACCESS_TOKEN_NEEDED: 401,
        Code.ACCESS_TOKEN_INVALID: 401,
        Code.DPOP_INVALID: 401,
        Code.DPOP_NONCE: 401,
        Code.SECOND_FACTOR_NEEDED: 401,
        Code.SIGN_IN_REFUSED: 401,
        Code.NOT_FOUND: 404,
        Code.ORDER_UNKNOWN: 404,
        Code.HANDSHAKE_UNKNOWN: 404,
        Code.TOO_LARGE: 413,
        Code.JOB_BYTES_DIFFER: 422,
        Code.PASSWORD_WEAK: 422,
        Code.USER_UNKNOWN: 404,
        Code.TOKEN_UNKNOWN: 404,
        Code.USER_CONFLICT: 409,
        Code.ROSTER_CONFLICT: 409,
        Code.TOO_MANY_TRIES: 429,
        Code.DEVICE_HAS_OTHER_KEY: 409,
        Code.KEY_ON_OTHER_DEVICE: 409,
        Code.PINNED_UNDER_OTHER_JOB: 409,
        Code.NOT_PINNED: 409,
        Code.CLOUD_KEY_DIFFERS: 409,
        Code.LEASE_CONFLICT: 409,
        Code.ACT_CONFLICT: 409,
        Code.ACT_USED: 409,
        Code.DEVICE_SCRAPPED: 409,
        Code.TOO_MANY_REQUESTS: 429,
        Code.INTERNAL: 500,
        Code.RECORD_UNTRUSTED: 500,
        Code.STORE_FAILED: 503,
        Code.DEVICE_SERVICE_AWAY: 503,
        Code.DEVICE_SERVICE_UNABLE: 503,
    }
)
_REFUSED: Final = 403
UNAVAILABLE: Final = 503
LATER_S: Final = 5
"""When to ask again what was answered 503 (Retry-After): a server that starts again is back in about so long."""


def later(status: int) -> dict[str, str]:
    """Headers that go with this status: when to ask again."""
    return {"retry-after": str(LATER_S)} if status == UNAVAILABLE else {}


def status_of(code: Code) -> int:
    """403 for whatever is not named."""
    return _STATUS.get(code, _REFUSED)
