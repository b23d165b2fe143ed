"""How `station-signer` shows things to people. Formats only; the command writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import MappingProxyType

from hsm.purposes import Purpose
from hsm.signer import SignerStatus

_COUNTED_AHEAD = frozenset({Purpose.CLOUD_TCP, Purpose.CLOUD_UDP})
"""Whose counts go up many at a time, before anything is signed (`hsm.handshakes`)."""

TIERS = MappingProxyType(
    {
        "token-counter": "the token itself: a copy or restored file counts on with it",
        "tpm-counter": "the TPM of this machine: a restored file is refused",
        "lease": "the registry's leases: a restored or copied signer uses up the rest of one at most",
        "none": "this file alone: nobody notices an old copy of it",
    }
)
"""How far a count can be taken back, for people (docs/decisions/0020)."""


def status_lines(status: SignerStatus) -> Iterator[str]:
    """A signer's status, a fact a line."""
    yield f"role         {status.role}"
    yield f"name         {status.name}"
    yield f"environment  {status.environment}"
    yield f"root         {status.root_sha256} (version {status.root_version})"
    yield f"token        {status.token_label} ({status.token_model})"
    yield f"profile      {status.token_profile}"
    for purpose, spki in sorted(status.keys.items()):
        made = status.signatures.get(purpose, 0)
        most = "at most " if purpose in _COUNTED_AHEAD and made else ""
        yield f"key          {purpose:<11} {hashlib.sha256(spki).hexdigest()}  {most}{made} signed"
    for origin, head in sorted(status.checkpoints.items()):
        yield f"log          {origin} at {head.size}, root hash {head.root_hash.hex()}"
    if status.role == "factory":
        yield f"counted by   {TIERS[status.tier]}"
        yield f"lease        {_lease(status)}"
    for each in status.orders:
        state = ", rest returned" if each.returned else ""
        yield (
            f"order        {each.order_id}: signed for {each.pins} of {each.pin_limit}, "
            f"completed {each.completions} of {each.completion_limit}, scrapped {each.scrapped}{state}"
        )
    yield f"signed again {status.resigned}"
    if status.stopped:
        yield f"STOPPED      {status.stopped}"
    for name, holds in status.protections.items():
        yield f"protection   {name:<17} {'holds' if holds else 'DOES NOT HOLD'}"
    if status.trouble:
        yield f"trouble      {status.trouble}"


def _lease(status: SignerStatus) -> str:
    if status.tier != "lease":
        return "none wanted"
    if status.lease is None:
        return "none yet: station run asks the registry for one"
    left = max(0, status.lease.up_to - status.pins)
    return f"number {status.lease.serial}: {left} pin statements left, until {status.lease.expires_at}"
