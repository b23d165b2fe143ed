"""One signing key a purpose, and which purposes each role has. A key is found on its token by its purpose's name.

The two roles never share a token or a process. Never holds a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

RoleName = Literal["factory", "cloud"]


class KeyKind(StrEnum):
    """What is made for a purpose."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"
    LOG = "log"  # Ed25519 where the token has it, else EC P-256 (C2SP signed-note takes both)


class Purpose(StrEnum):
    """What a key signs, and nothing else; also its label on the token."""

    PIN = "pin"
    COMPLETION = "completion"
    LOG = "log"
    CLIENT = "client"
    ACCOUNT = "account"
    RECEIPT = "receipt"
    REVOCATION = "revocation"
    LEASE = "lease"
    ROSTER = "roster"
    HANDSHAKE = "handshake"
    CLOUD_UDP = "cloud-udp"
    CLOUD_TCP = "cloud-tcp"
    AUTHORITY = "authority"


DECRYPTS: Final = frozenset({Purpose.CLOUD_TCP})  # its handshake has the device encrypt to this key, and no other has

KEYS: Final[Mapping[RoleName, Mapping[Purpose, KeyKind]]] = MappingProxyType(
    {
        "factory": MappingProxyType(
            {
                Purpose.PIN: KeyKind.EC_P256,
                Purpose.COMPLETION: KeyKind.EC_P256,
                Purpose.LOG: KeyKind.LOG,
                Purpose.CLIENT: KeyKind.EC_P256,
                Purpose.ACCOUNT: KeyKind.EC_P256,
            }
        ),
        "cloud": MappingProxyType(
            {
                Purpose.RECEIPT: KeyKind.EC_P256,
                Purpose.REVOCATION: KeyKind.EC_P256,
                Purpose.LEASE: KeyKind.EC_P256,
                Purpose.ROSTER: KeyKind.EC_P256,
                Purpose.HANDSHAKE: KeyKind.EC_P256,
                Purpose.CLOUD_UDP: KeyKind.EC_P256,
                Purpose.CLOUD_TCP: KeyKind.RSA_2048,
                Purpose.AUTHORITY: KeyKind.EC_P256,
            }
        ),
    }
)
