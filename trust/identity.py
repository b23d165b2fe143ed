"""Who is who: ids that cross modules as values, never as bare text or bytes.

Parsed at the edge, refused there if malformed. Never holds state, never looks anything up.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Self

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")


class IdentityError(ValueError):
    """A malformed id; the text says which and what is expected."""


@dataclass(frozen=True, slots=True, order=True)
class DeviceId:
    """What the silicon says it is: 12 bytes, shown as 24 lower-case hex digits."""

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse any other length, and the values of erased or zeroed fuses."""
        if len(self.raw) != 12:  # noqa: PLR2004
            raise IdentityError(f"a device id has 12 bytes, got {len(self.raw)}")
        if self.raw in {b"\x00" * 12, b"\xff" * 12}:
            raise IdentityError("device id is all zeros or all ones: the factory page was never written")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 24 hex digits in either case; anything else is refused."""
        return cls(_hex(text, 12, "device id"))

    def __str__(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True, slots=True, order=True)
class JobId:
    """One device under one order, for life; also the idempotency key everywhere: 16 bytes, 32 hex digits."""

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse any other length."""
        if len(self.raw) != 16:  # noqa: PLR2004
            raise IdentityError(f"a job id has 16 bytes, got {len(self.raw)}")

    @classmethod
    def new(cls) -> Self:
        """A fresh random id (128 bits)."""
        return cls(secrets.token_bytes(16))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 32 hex digits."""
        return cls(_hex(text, 16, "job id"))

    def __str__(self) -> str:
        return self.raw.hex()


def parse_name(text: str, what: str) -> str:
    """An order, station, product or environment name: lower case, digits, dot, dash, underscore; 1 to 64."""
    if not _NAME.fullmatch(text):
        raise IdentityError(
            f"{what} {text!r}: use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
        )
    return text


def _hex(text: str, size: int, what: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{size * 2}}}", text):
        raise IdentityError(f"{what} {text!r}: expected {size * 2} hex digits")
    return bytes.fromhex(text)
