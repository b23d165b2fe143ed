"""A site in miniature for tricks: two stations, leases, a root of two versions approved by people, an approved order.

Everything is right as made. A judge of `tests.contract.judges` may be asked here as in a `Court`: the names are the same.
"""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from hsm.counters import Counters
from hsm.counters.file import create
from hsm.records import Owner, keys_sha256
from hsm.signatory import Signatory
from registry import schema
from registry.database import Database, sqlite_url
from registry.leases.service import LeaseService
from registry.pins.service import PinService
from station.audit.story import Storyteller
from station.jobs.leaf import parse_leaf
from tests.contract.judges import AuditError, Unit
from tests.hsm.floor import AUTHORITY_KEY, CLOUD_KEY, FIRMWARE, Device, Floor
from tests.hsm.leased import Clock
from tests.hsm.local_signer import CloudVerbs, FactoryVerbs, make_root
from tests.hsm.software_token import SoftwareToken, sealed
from tests.trust import orders
from tests.trust.documents import ec_key, spki
from tests.trust.people import Person, approved_by, approvers, file_of, next_root, person
from trust.act import Act
from trust.approval import Approver
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.revocation import Revocation
from trust.root import CloudKeys, LeaseTerms, Root
from trust.root_file import parse, wrap
from trust.statement import Completion, Event, PinStatement, Receipt, Statement, envelope

SITE, STATION, OTHER, REGISTRY = "plant-a", "st-01", "st-02", "reg-01"
UNITS = 5
# zoe has left with version 2, rob was in quality before it and is an officer now
FORMER = {"zoe": ("quality",), "rob": ("quality",)}
ROLES: dict[str, tuple[Any, ...]] = {
    "ada": ("officer",), "ben": ("officer",), "cleo": ("officer",), "rob": ("officer",), "pia": ("product-owner",),
    "pat": ("product-owner",), "quinn": ("quality",), "uma": ("product-owner", "quality"), "zoe": (),
}  # fmt: skip
TWO_KEYS = ("uma", "cleo")


@cache
def empty_registry() -> bytes:
    """The registry's tables: migrated once, copied for each stage."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "registry.db"
        database = Database.open(sqlite_url(path))
        schema.upgrade(database)
        database.close()
        return path.read_bytes()


@dataclass(slots=True)
class SiteFloor(Floor):
    """Statements of a site: no device is emulated, the order is approved."""

    approved: Envelope | None = None

    @property
    def order_envelope(self) -> Envelope:
        assert self.approved is not None
        return self.approved

    def pin(self, device: Device, challenge: bytes | None = None, **changes: Any) -> PinStatement:
        made = Floor.pin(self, device, challenge)
        declared = msgspec.structs.replace(made.declared, emulated=False)
        said = {"environment": SITE, "order_signed": True, "declared": declared, **changes}
        return msgspec.structs.replace(made, **said)

    def receipt(self, device: Device, pin: Envelope, **changes: Any) -> Receipt:
        return Floor.receipt(self, device, pin, **{"environment": SITE, **changes})

    def completion(
        self, device: Device, pin: Envelope, receipt: Envelope, report: dict[str, Any] | None = None, **changes: Any
    ) -> Completion:
        said = {"environment": SITE, "emulated": False, **changes}
        return Floor.completion(self, device, pin, receipt, {"emulated": 0, **(report or {})}, **said)


class Stage:
    """All parties of the site; `wrong` things are made with the same hands as right ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens = {name: SoftwareToken.make(directory / name, "factory") for name in (STATION, OTHER)}
        self.cloud = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
        self.who = {name: person(name, *roles) for name, roles in ROLES.items()}
        self.second = {name: Person(name, self.who[name].roles, ec_key()) for name in TWO_KEYS}
        self.clock, self.registry_clock = Clock(), Clock()
        self.lines = self._lines()
        self.trusted = parse(file_of(*self.lines))
        self.database = self._registry()
        self.factory = FactoryVerbs(self._signatory(STATION, "factory", self.tokens[STATION]))
        self.receipts = CloudVerbs(self._signatory(REGISTRY, "cloud", self.cloud))
        self.registry = PinService(self.database, self.trusted, self.receipts, now=self.registry_clock.utc)
        self.leases = LeaseService(self.database, self.trusted, self.receipts, now=self.registry_clock.utc)
        self.lease = self.renew()
        order = self.order()
        self.floor = self.floor_of(order)
        self.line: Any = SimpleNamespace(root=self.trusted, work=order, order=self.floor.order_envelope)

    def close(self) -> None:
        self.factory.signatory.counters.close()
        self.receipts.signatory.counters.close()
        self.database.close()

    # ---- root

    def _lines(self) -> list[Envelope]:
        named = make_root(self.tokens, REGISTRY, self.cloud).root
        keys = {name: self.cloud.public_key(name) for name in ("receipt", "lease", "revocation")}
        first = msgspec.structs.replace(
            named, environment=SITE, registry_keys=msgspec.structs.replace(named.registry_keys, **keys),
            cloud_keys=CloudKeys(
                device_service=(CLOUD_KEY.spki,), authority=(AUTHORITY_KEY.spki,),
                handshake=self.cloud.public_key("handshake"),
            ),
            lease=LeaseTerms(units=UNITS), approvers=self._approvers(FORMER),
        )  # fmt: skip
        line = self.signed_by(wrap(first), "ada", "ben")
        second = next_root(first, line, approvers=self._approvers({"zoe": ()}))
        return [line, self.signed_by(wrap(second), "ada", "ben")]

    def _approvers(self, other_roles: dict[str, Any]) -> dict[str, Approver]:
        people = [replace(each, roles=other_roles.get(name, each.roles)) for name, each in self.who.items()]
        named = approvers(each for each in people if each.roles)
        for name, other in self.second.items():
            keys = (*named[name].keys, spki(other.key))
            named[name] = msgspec.structs.replace(named[name], keys=keys)
        return named

    @property
    def root(self) -> Root:
        return self.trusted.root

    def third(self, *by: str, **changes: Any) -> Envelope:
        """The next version's line, approved by these people."""
        return self.signed_by(wrap(next_root(self.root, self.lines[-1], **changes)), *by)

    # ---- signers and registry

    def _registry(self) -> Database:
        path = self.directory / "registry.db"
        path.write_bytes(empty_registry())
        return Database.open(sqlite_url(path))

    def _signatory(self, name: str, role: Any, token: SoftwareToken) -> Signatory:
        path = self.directory / f"{name}-counters.db"
        owner = Owner(role=role, name=name, environment=SITE, keys_sha256=keys_sha256(token.keys()))
        create(path, owner)
        counters = Counters.open(path, owner)
        return Signatory.over(token, counters, role=role, name=name, trusted=self.trusted, now=self.clock)

    def renew(self) -> Envelope:
        lease = self.leases.grant(self.factory.lease_request())
        self.factory.import_lease(lease)
        return lease

    # ---- documents

    def signed_by(self, document: Envelope, *by: str) -> Envelope:
        return approved_by(document, *(self.who[name] for name in by))

    def order(self, **changes: Any) -> WorkOrder:
        said = {
            "environment": SITE, "quantity": 3, "allowance": 1, "cloud_key": CLOUD_KEY.spki,
            "authority_key": AUTHORITY_KEY.spki, "stations": (STATION,), "order_id": f"order-{secrets.token_hex(4)}",
        }  # fmt: skip
        return orders.make(self.trusted.sha256, (STATION,), FIRMWARE, **{**said, **changes})

    def approved(self, order: WorkOrder) -> Envelope:
        return self.signed_by(envelope(order), "pia", "quinn")

    def floor_of(self, order: WorkOrder) -> SiteFloor:
        return SiteFloor(self.trusted, order, self.factory, self.receipts, STATION, self.approved(order))

    def act(self, *by: str, **fields: Any) -> Envelope:
        """An act for this station's signer, good for an hour."""
        now = self.clock()
        said = {
            "environment": SITE, "root_sha256": self.trusted.sha256, "signer": STATION, "reason": "for a test",
            "nonce": secrets.token_hex(32), "made_at": utc(now), "not_after": utc(now + 3600), **fields,
        }  # fmt: skip
        return self.signed_by(envelope(Act(**said)), *by)

    def raise_by_two(self, *by: str, **fields: Any) -> Envelope:
        """Two pin statements more for the stage's order."""
        order = self.floor.order_envelope
        about = {"order_id": self.floor.order.order_id, "order_sha256": order.payload_sha256, "units": 2}
        return self.act(*by, **{"kind": "raise-allowance", **about, **fields})

    def revocation(self, unit: Unit, purpose: str = "revocation", **changes: Any) -> Envelope:
        """The registry's word that this unit is scrapped."""
        made = Revocation(
            environment=SITE, root_sha256=self.trusted.sha256, registry=REGISTRY, order_id=self.floor.order.order_id,
            job=str(unit.device.job), device_id=str(unit.device.device_id), fingerprint=unit.done.fingerprint,
            cause="scrapped", act_sha256="ac" * 32, reason="dropped", revoked_at=utc(self.clock()),
        )  # fmt: skip
        token = self.tokens[STATION] if purpose == "account" else self.cloud
        return sealed(token, msgspec.structs.replace(made, **changes), purpose)

    # ---- units: as in `judges.Court`

    def unit(self) -> Unit:
        """A unit that may pass: signed for, pinned, receipted."""
        device: Any = Device()
        pin = self.floor.factory.sign_pin(self.floor.pin(device))
        receipt = self.registry.pin(device.device_id, pin, self.floor.order_envelope).pin.receipt
        return Unit(device=device, pin=pin, receipt=receipt, done=self.floor.completion(device, pin, receipt))

    def seal(self, statement: Statement, purpose: str) -> Envelope:
        """Signed by this purpose's key of the station that the statement names, whatever it says."""
        token = self.cloud if purpose == "receipt" else self.tokens[getattr(statement, "station", STATION)]
        return sealed(token, statement, purpose)

    def tell(self, device: Device, *records: Envelope) -> None:
        """What the audit finds in a log of these records."""
        opened = Event(
            environment=SITE, root_sha256=self.trusted.sha256, station=STATION, kind="job", at="2026-11-22T20:00:00Z",
            order_id=self.floor.order.order_id, job=str(device.job), device_id=str(device.device_id), details={"adopted": "yes"},
        )  # fmt: skip
        self.audit(self.floor.order_envelope, envelope(opened), *records)

    def audit(self, *leaves: Envelope) -> None:
        """What the audit finds in a log of these leaves; it must find something, or they are taken."""
        story = Storyteller(self.trusted, STATION)
        found = [story.tell(parse_leaf(each), index).problems for index, each in enumerate(leaves)]
        if any(found):
            raise AuditError(found)


def utc(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
