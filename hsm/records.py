"""What the counters remember, as values. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["pin", "completion", "receipt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose counters these are: a file of another signer, or of another token, is refused."""

    role: str
    name: str
    environment: str
    keys_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a challenge is good for."""

    purpose: Literal["pin", "report"]
    order_id: str
    job: str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A statement that is signed, or will be: its payload never changes. `envelope` is None until it is signed."""

    kind: Kind
    order_id: str
    job: str
    device_id: str
    fingerprint: str
    payload_sha256: str
    payload: bytes
    envelope: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHead:
    """A checkpoint that is signed, or will be; `note` is None until it is."""

    size: int
    root_hash: bytes
    note: str | None


def keys_sha256(keys: Mapping[str, bytes]) -> str:
    """One hash over public keys by purpose: ties counters to their token."""
    return hashlib.sha256(
        b"".join(purpose.encode() + b"\0" + spki for purpose, spki in sorted(keys.items()))
    ).hexdigest()
