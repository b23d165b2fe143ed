"""What the door says in the words of Particle's clients: `error` is one string, beside it a text for people.

Those clients look for that string before they look at the status, so no refusal may come without both. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from trust.codes import Code

State = Literal["proposed", "pinned"]


class ParticleRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """No. `error` is what Particle's clients show and compare, `code` this registry's own word for it."""

    error: str
    error_description: str
    code: Code


class ProvisioningAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a key: `proposed` to those who may approve it (202), or the one that is pinned already (200)."""

    ok: Literal[True] = True
    id: str
    state: State
    fingerprint: str
    message: str


class ProvisionedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, and what it is to this registry."""

    fingerprint: str
    state: State


class ProvisionedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A device's keys, for whoever has proposed one and reads back; Particle's own cloud has no such answer."""

    ok: Literal[True] = True
    id: str
    keys: tuple[ProvisionedKey, ...]


class LoggedOutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The token is good for nothing any more."""

    ok: Literal[True] = True


class ParticleError(Exception):
    """The door says no; the text says what to send instead."""

    def __init__(self, status: int, error: str, code: Code, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.refusal = ParticleRefusal(error=error, error_description=message, code=code)


def bad_request(error: str, message: str) -> ParticleError:
    """400: it cannot be what was meant."""
    return ParticleError(400, error, Code.MALFORMED, message)


DENIED: Final = "Permission Denied"
"""What users of Particle's tools see for a device that is not theirs, and what they look for in its forum."""

_ERRORS: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.ACCESS_TOKEN_NEEDED: "invalid_token",
        Code.ACCESS_TOKEN_INVALID: "invalid_token",
        Code.SECOND_FACTOR_NEEDED: "invalid_token",
        Code.SCOPE_MISSING: "insufficient_scope",
        Code.NOT_AUTHORISED: DENIED,
        Code.NOT_PINNED: DENIED,
        Code.DEVICE_SCRAPPED: DENIED,
        Code.KEY_ON_OTHER_DEVICE: "key_on_other_device",
        Code.ACT_CONFLICT: "conflict",
        Code.KEY_WEAK: "weak_public_key",
        Code.TOO_MANY_REQUESTS: "too_many_requests",
        Code.TOO_MANY_TRIES: "too_many_requests",
        Code.STORE_FAILED: "temporarily_unavailable",
        Code.TOKEN_UNAVAILABLE: "temporarily_unavailable",
        Code.INTERNAL: "server_error",
        Code.NOT_FOUND: "not_found",
    }
)


def error_of(code: Code) -> str:
    """A refusal of the registry, as Particle's clients are told it."""
    return _ERRORS.get(code, "invalid_request")
