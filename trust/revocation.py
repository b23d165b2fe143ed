"""Revocations: the registry's word that a device, or its key, is out. Pure; never counts what that frees."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

from trust.dsse import Envelope
from trust.pin_act import PinAct
from trust.root import TrustedRoot
from trust.statement import DeviceHex, Hex32, JobHex, Name, Statement, StatementError, Text, Utc, moment, verify


class Revocation(Statement, frozen=True, kw_only=True, tag="revocation"):
    """Device `device_id` was scrapped, its id burned, or its key `fingerprint` revoked, as an approved act wants it.

    Signed for purpose *revocation*. `order_id` and `job` are those of its first pin.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.revocation.v1+json"
    registry: Name
    order_id: Name
    job: JobHex
    device_id: DeviceHex
    fingerprint: Hex32
    cause: Literal["scrapped", "revoked"]
    act_sha256: Hex32
    reason: Text
    revoked_at: Utc


def revoked(trusted: TrustedRoot, envelope: Envelope) -> Revocation:
    """The revocation, signed by the key that the root names now; StatementError says what is wrong."""
    root, key = trusted.root, trusted.root.revocation_key
    if key is None:
        raise StatementError("the trust root names no revocation key: no revocation is taken")
    said = verify(envelope, Revocation, key)
    if (said.environment, said.registry) != (root.environment, root.registry) or not trusted.knows(said.root_sha256):
        raise StatementError("the revocation is of another environment, registry or trust root")
    moment(said.revoked_at)
    return said


CAUSES: Final = MappingProxyType({"scrap": "scrapped", "revoke": "revoked"})
"""Kinds of act from which a revocation follows, and its cause."""


def require_wanted(revocation: Revocation, act: PinAct, act_sha256: str) -> None:
    """The revocation says what this act wants, of the same device and key; StatementError."""
    for name, found, wanted in (
        ("act", revocation.act_sha256, act_sha256),
        ("cause", revocation.cause, CAUSES.get(act.kind)),
        ("device", revocation.device_id, act.device_id),
        ("fingerprint", revocation.fingerprint, act.fingerprint),
        ("reason", revocation.reason, act.reason),
        ("environment", revocation.environment, act.environment),
    ):
        if found != wanted:
            raise StatementError(f"revocation: {name} is {found!r}, the act says {wanted!r}")
