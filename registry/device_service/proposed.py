"""Keys that Particle's tools have proposed: a device may show once, by one handshake, that it has such a key.

That pins nothing and lets it do nothing: approvers see that it was proved. For devices whose key is good now, as the
door takes proposals for no others. Never asked about a key that is good by its pin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.exc import IntegrityError

from registry.clock import stamp, utc_now
from registry.database import Database
from registry.particle.proposing import SOURCE
from registry.pins.reading import current
from registry.pins.rows import of_device
from registry.tables import proposal_proofs, proposals
from trust.identity import DeviceId
from trust.keys import PublicKey
from trust.root import TrustedRoot

_WITHIN: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedKeys:
    """What a registry's book has of them. UntrustedError when what is stored about a device does not verify."""

    database: Database
    trusted: TrustedRoot
    now: Callable[[], datetime] = utc_now

    def owner(self, spki: bytes) -> DeviceId | None:
        """For whom this key is proposed and not proved yet; None for nobody, and for more than one device."""
        # By its fingerprint: strangers ask for keys of their own as often as they like, and no table is read for them.
        fingerprint = hashlib.sha256(spki).hexdigest()
        query = self._open().where(proposals.c.fingerprint == fingerprint, proposals.c.spki == spki)
        with self.database.read() as connection:
            devices = sorted({row.device_id for row in connection.execute(query)})
        if len(devices) != 1 or not self._is_active(found := DeviceId.parse(devices[0])):
            return None
        return found

    def proved(self, device: DeviceId, spki: bytes, protocol: Literal["tcp", "udp"], transcript: bytes) -> bool:
        """Put on record that it has: True for one handshake, False for every other one, whatever came between."""
        row = {
            "device_id": str(device), "fingerprint": PublicKey.from_der(spki).fingerprint, "protocol": protocol,
            "transcript_sha256": transcript.hex(), "proved_at": stamp(self.now()),
        }  # fmt: skip
        try:
            with self.database.write() as connection:
                connection.execute(proposal_proofs.insert(), row)
        except IntegrityError:
            return False
        return True

    def _open(self) -> Select[tuple[str, bytes]]:
        made: ColumnElement[bool] = (proposal_proofs.c.device_id == proposals.c.device_id) & (
            proposal_proofs.c.fingerprint == proposals.c.fingerprint
        )
        return (
            select(proposals.c.device_id, proposals.c.spki)
            .where(proposals.c.source == SOURCE, proposals.c.kind == "repin", proposals.c.spki.is_not(None))
            .where(proposals.c.proposed_at > stamp(self.now() - _WITHIN))
            .where(~select(proposal_proofs.c.device_id).where(made).exists())
        )

    def _is_active(self, device: DeviceId) -> bool:
        with self.database.read() as connection:
            rows = of_device(connection, str(device))
        return rows is not None and bool(current(rows, self.trusted, self.now()).good)
