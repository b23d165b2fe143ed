"""What is good once: client assertions and DPoP proofs. A unique constraint decides, whichever process asks first.

Runs inside the caller's transaction; never looks before it inserts.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, insert

from registry.access.assertion import Client
from registry.access.dpop import Proof
from registry.tables import used_once

_CLOCKS_S = 60  # other processes' clocks may be behind: what one of them would still take is remembered
_INSERT = insert(used_once)


def use_assertion(connection: Connection, client: Client) -> None:
    """Use it up; IntegrityError if it was used before. A `jti` is its station's."""
    _use(connection, ("assertion", client.station, client.jti), client.until)


def use_proof(connection: Connection, proof: Proof) -> None:
    """Use it up; IntegrityError if it was used before. A `jti` is its key's."""
    _use(connection, ("dpop", proof.thumbprint, proof.jti), proof.until)


def _use(connection: Connection, what: tuple[str, ...], until: int) -> None:
    digest = hashlib.sha256("\0".join(what).encode()).digest()
    connection.execute(_INSERT, {"sha256": digest, "expires_at": until + _CLOCKS_S})
