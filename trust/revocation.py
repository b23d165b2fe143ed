"""Revocations: the registry's word that a device is out for good, its id burned. Pure; never counts what that frees."""

from __future__ import annotations

from typing import Literal

from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.statement import DeviceHex, Hex32, JobHex, Name, Statement, StatementError, Text, Utc, moment, verify


class Revocation(Statement, frozen=True, kw_only=True, tag="revocation"):
    """Device `device_id` was scrapped: its pin is revoked and never comes back (signed for purpose *revocation*)."""

    PAYLOAD_TYPE = "application/vnd.keystation.revocation.v1+json"
    registry: Name
    order_id: Name
    job: JobHex
    device_id: DeviceHex
    fingerprint: Hex32
    cause: Literal["scrapped"]
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
