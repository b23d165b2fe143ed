"""Leases: how many pin statements a signer may make before the registry has looked at its memory again.

A signer reports what it signed since its last lease, as hashes chained to what it reported before; the registry grants
the next lease for exactly that memory. One that was restored or copied can use up the rest of one lease and is named
when it asks for another (docs/decisions/0020). Pure; never counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

import msgspec

from trust.dsse import Envelope
from trust.root import Root, RootError, TrustedRoot
from trust.statement import Hex32, MaybeHex32, Name, Statement, StatementError, Utc, moment, verify

MAX_PINS = 500  # hashes in one request: as many as a lease grants at most (trust.root.LeaseTerms), all in one frame
NO_PINS = bytes(32)
Counted = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Serial = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class LeaseRequest(Statement, frozen=True, kw_only=True, tag="lease-request"):
    """What a station's signer has signed: asks for lease `serial`. Signed by the signer (purpose *account*).

    `signed` pin statements up to here, `total` in all; `head` chains their payloads' hashes, of which `pins` are those
    since lease `serial - 1`, whose payload has the hash `previous_sha256`. The log's last checkpoint is told, too.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.lease-request.v1+json"
    station: Name
    serial: Serial
    previous_sha256: MaybeHex32
    signed: Counted
    total: Counted
    head: Hash
    pins: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MAX_PINS)]
    log_size: Counted
    log_root_hash: Hash
    nonce: Hex32
    made_at: Utc


class Lease(Statement, frozen=True, kw_only=True, tag="lease"):
    """The signer may make pin statements number `signed + 1` to `up_to` until `expires_at`.

    Signed by the registry's cloud-role signer (purpose *lease*).
    """

    PAYLOAD_TYPE = "application/vnd.keystation.lease.v1+json"
    registry: Name
    station: Name
    serial: Serial
    request_sha256: Hex32
    signed: Counted
    up_to: Counted
    granted_at: Utc
    expires_at: Utc


def chained(head: bytes, pins: Iterable[bytes]) -> bytes:
    """The head after these payload hashes (32 bytes each): SHA-256 over the head before and the hash, one by one."""
    for each in pins:
        head = hashlib.sha256(head + each).digest()
    return head


def granted(trusted: TrustedRoot, envelope: Envelope) -> Lease:
    """The lease, signed by the key that the root names now, within the terms of the version that it names.

    StatementError says what is wrong.
    """
    root = trusted.root
    try:
        key = root.lease_key
    except RootError as error:
        raise StatementError(str(error)) from error
    if key is None:
        raise StatementError("the trust root names no lease key: no lease is taken")
    lease = verify(envelope, Lease, key)
    if (lease.environment, lease.registry) != (root.environment, root.registry) or not trusted.knows(lease.root_sha256):
        raise StatementError("the lease is of another environment, registry or trust root")
    require_terms(lease, trusted.at(lease.root_sha256))  # a root with lower terms ends no lease that was granted before
    return lease


def require_terms(lease: Lease, root: Root) -> None:
    """No more units and days than the root allows; StatementError."""
    if not lease.signed < lease.up_to <= lease.signed + root.lease.units:
        text = f"the lease is for number {lease.signed + 1} to {lease.up_to}"
        raise StatementError(f"{text}: the trust root allows {root.lease.units} at a time")
    if not timedelta() < moment(lease.expires_at) - moment(lease.granted_at) <= timedelta(days=root.lease.days):
        text = f"the lease is from {lease.granted_at} to {lease.expires_at}"
        raise StatementError(f"{text}: the trust root allows {root.lease.days} days")
