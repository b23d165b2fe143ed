"""How `station-signer` shows things to people. Formats only; the command writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hsm.signer import SignerStatus


def status_lines(status: SignerStatus) -> Iterator[str]:
    """A signer's status, a fact a line."""
    yield f"role         {status.role}"
    yield f"name         {status.name}"
    yield f"environment  {status.environment}"
    yield f"root         {status.root_sha256}"
    yield f"token        {status.token_label} ({status.token_model})"
    for purpose, spki in sorted(status.keys.items()):
        made = status.signatures.get(purpose, 0)
        yield f"key          {purpose:<11} {hashlib.sha256(spki).hexdigest()}  {made} signed"
    for origin, head in sorted(status.checkpoints.items()):
        yield f"log          {origin} at {head.size}, root hash {head.root_hash.hex()}"
    yield f"signed again {status.resigned}"
