"""A factory whose root wants leases: one signer, the registry's services over a real database, and people who approve.

A signer's whole memory is its counters file: `copy_of` makes a second signer that remembers what the first one did then.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from registry.database import Database, sqlite_url
from registry.leases.service import LeaseService
from registry.pins.service import PinService
from tests import empty
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import CloudVerbs, FactoryVerbs, make_factory, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from tests.registry.make import signed
from tests.trust.documents import ec_key, spki
from tests.trust.people import Person, approved_by, approvers, people
from trust.act import Act
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.revocation import Revocation
from trust.root import LeaseTerms, TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import envelope

REGISTRY, STATION = "reg-01", "st-01"


@dataclass(slots=True)
class Clock:
    """Unix seconds that tests may move."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)


@dataclass(slots=True)
class Leased:
    """All parties of one plant."""

    directory: Path
    trusted: TrustedRoot
    who: dict[str, Person]
    factory: FactoryVerbs
    cloud: CloudVerbs
    database: Database
    revocation_key: Any
    clock: Clock = field(default_factory=Clock)
    registry_clock: Clock = field(default_factory=Clock)

    @classmethod
    def make(cls, directory: Path, *, units: int = 5, days: int = 7) -> Leased:
        token = SoftwareToken.make(directory / "factory", "factory")
        cloud_token = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
        who, revocation_key, clock = people(), ec_key(), Clock()
        plain = make_root({STATION: token}, REGISTRY, cloud_token).root
        keys = msgspec.structs.replace(
            plain.registry_keys, lease=cloud_token.public_key("lease"), revocation=spki(revocation_key)
        )
        root = msgspec.structs.replace(
            plain, registry_keys=keys, approvers=approvers(who.values()), lease=LeaseTerms(units=units, days=days)
        )
        trusted = parse(wrap(root).to_json())
        empty.registry_database(directory / "registry.db")
        database = Database.open(sqlite_url(directory / "registry.db"))
        return cls(
            directory, trusted, who,
            make_factory(directory / "factory", STATION, trusted, token, clock),
            make_registry(directory / "cloud", REGISTRY, trusted, cloud_token),
            database, revocation_key, clock,
        )  # fmt: skip

    @property
    def leases(self) -> LeaseService:
        return LeaseService(self.database, self.trusted, self.cloud, now=self.registry_clock.utc)

    @property
    def pins(self) -> PinService:
        return PinService(self.database, self.trusted, self.cloud, now=self.registry_clock.utc)

    def order(self, **changes: Any) -> WorkOrder:
        return make_order(self.trusted, **{"quantity": 1000, "allowance": 10, **changes})

    def floor(self, order: WorkOrder, factory: FactoryVerbs | None = None) -> Floor:
        return Floor(self.trusted, order, factory or self.factory, self.cloud)

    def renew(self, factory: FactoryVerbs | None = None) -> Envelope:
        """Request, grant, import."""
        signer = factory or self.factory
        lease = self.leases.grant(signer.lease_request())
        signer.import_lease(lease)
        return lease

    def copy_of(self, place: str, of: str = "factory") -> FactoryVerbs:
        """The signer's whole machine as it is now, in a second place; both go on from here."""
        shutil.copytree(self.directory / of, self.directory / place)
        return self.signer(place)

    def signer(self, place: str) -> FactoryVerbs:
        """The signer in that directory, started."""
        token = SoftwareToken(self.directory / place)
        return make_factory(self.directory / place, STATION, self.trusted, token, self.clock)

    def pin(self, floor: Floor, device: Device | None = None) -> Envelope:
        """One device signed for and pinned at the registry."""
        device = device or Device()
        pin = floor.factory.sign_pin(floor.pin(device))
        self.pins.pin(device.device_id, pin, floor.order_envelope)
        return pin

    def act(self, *by: str, **fields: Any) -> Envelope:
        """An act approved by these people."""
        now = self.clock.utc()
        made = Act(
            **{
                "environment": "demo", "root_sha256": self.trusted.sha256, "signer": STATION, "reason": "for a test",
                "nonce": secrets.token_hex(32), "made_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "not_after": f"{datetime.fromtimestamp(self.clock() + 3600, UTC):%Y-%m-%dT%H:%M:%SZ}", **fields,
            }
        )  # fmt: skip
        return approved_by(envelope(made), *(self.who[name] for name in by))

    def revocation(self, floor: Floor, device: Device, **changes: Any) -> Envelope:
        """The registry's word that this device is scrapped."""
        made = Revocation(
            environment="demo", root_sha256=self.trusted.sha256, registry=REGISTRY, order_id=floor.order.order_id,
            job=str(device.job), device_id=str(device.device_id), fingerprint=floor.pin(device, bytes(32)).fingerprint,
            cause="scrapped", act_sha256="ac" * 32, reason="dropped", revoked_at=f"{self.clock.utc():%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
        return signed(msgspec.structs.replace(made, **changes), self.revocation_key)

    def restored(self, before: Callable[[], None]) -> FactoryVerbs:
        """A signer whose counters file was saved, used on by `before`, and put back."""
        saved = (self.directory / "factory" / "counters.db").read_bytes()
        before()
        self.factory.signatory.counters.close()
        (self.directory / "factory" / "counters.db").write_bytes(saved)
        self.factory = self.signer("factory")
        return self.factory
