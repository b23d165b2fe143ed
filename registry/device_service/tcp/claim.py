"""Message 2 without its nonce: which device this claims to be, and in the longer form with which key. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from trust.identity import DeviceId, IdentityError

ID_BYTES: Final = 12
KEY_BYTES: Final = 162
"""DER SubjectPublicKeyInfo of an RSA-1024 key: a longer one does not fit, so that its device leaves it out."""


class ClaimError(ValueError):
    """Neither of both forms, or of no device."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`spki` as the device has sent it, unread; empty in the short form. Nothing of it is proved yet."""

    device_id: DeviceId
    spki: bytes

    @classmethod
    def parse(cls, rest: bytes) -> Self:
        """From 12 or 174 bytes; ClaimError for any other number, and for an id that is none."""
        if len(rest) not in {ID_BYTES, ID_BYTES + KEY_BYTES}:
            raise ClaimError(f"a claim of {len(rest)} bytes")
        try:
            return cls(DeviceId(rest[:ID_BYTES]), rest[ID_BYTES:])
        except IdentityError as error:
            raise ClaimError(str(error)) from error

    def fits(self, pinned_spki: bytes) -> bool:
        """Whether it is about the key that is pinned: the very bytes, or the short form, whose key the rest proves."""
        return self.spki in {b"", pinned_spki}
