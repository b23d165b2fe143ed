"""Four judges of one unit's statements: signer, registry, flow and audit, each asked through the product's own entry.

A judge raises what its party refuses with, and returns when it takes the statement. Holds no assertion.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from registry.database import Database, sqlite_url
from registry.pins.service import PinService
from station import checks, passed
from station.audit.story import Storyteller
from station.cloud import PinRecord
from station.jobs.leaf import parse_leaf
from tests import empty
from tests.hsm import repeated_nonce
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import make_factory, make_registry, make_root
from tests.hsm.software_token import SoftwareToken, sealed
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.statement import Completion, Event, PinStatement, Statement, envelope

STATION, OTHER = "st-01", "st-02"


class AuditError(Exception):
    """The audit has found something."""


def fresh_nonces() -> Iterator[int]:
    while True:
        yield 1 + secrets.randbelow(repeated_nonce.P256_ORDER - 1)


@dataclass(slots=True)
class ToldDevice(Device):
    """A device that can be told its next nonces; `used` are those it signed with, in order."""

    nonces: Iterator[int] = field(default_factory=fresh_nonces)
    used: list[int] = field(default_factory=list)

    def sign(self, message: bytes) -> bytes:
        self.used.append(next(self.nonces))
        return repeated_nonce.sign(self.key, message, self.used[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A device, what is pinned of it, and the completion that is right for it."""

    device: ToldDevice
    pin: Envelope
    receipt: Envelope
    done: Completion


class Court:
    """One plant: two stations in the root, one signer, one registry, one order (keywords change it)."""

    def __init__(self, directory: Path, **order_says: Any) -> None:
        self.tokens = {name: SoftwareToken.make(directory / name, "factory") for name in (STATION, OTHER)}
        self.cloud = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
        self.trusted = make_root(self.tokens, "reg-01", self.cloud)
        factory = make_factory(directory / STATION, STATION, self.trusted, self.tokens[STATION])
        registry = make_registry(directory / "cloud", "reg-01", self.trusted, self.cloud)
        order = make_order(self.trusted, **{"quantity": 1000, "stations": (STATION,), **order_says})
        self.floor = Floor(self.trusted, order, factory, registry)
        empty.registry_database(directory / "registry.db")
        self.database = Database.open(sqlite_url(directory / "registry.db"))
        self.registry = PinService(self.database, self.trusted, registry)
        self.line: Any = SimpleNamespace(root=self.trusted, work=order, order=self.floor.order_envelope)

    def unit(self, *, emulated: bool = True) -> Unit:
        """A unit that may pass: signed for, pinned, receipted."""
        device = ToldDevice()
        statement = self.floor.pin(device)
        declared = msgspec.structs.replace(statement.declared, emulated=emulated)
        pin = self.floor.factory.sign_pin(msgspec.structs.replace(statement, declared=declared))
        receipt = self.registry.pin(device.device_id, pin, self.floor.order_envelope).pin.receipt
        done = self.floor.completion(device, pin, receipt, report={"emulated": emulated}, emulated=emulated)
        return Unit(device=device, pin=pin, receipt=receipt, done=done)

    def seal(self, statement: Statement, purpose: str) -> Envelope:
        """Signed by this purpose's key of the station that the statement names, whatever it says."""
        token = self.cloud if purpose == "receipt" else self.tokens[getattr(statement, "station", STATION)]
        return sealed(token, statement, purpose)

    def tell(self, device: Device, *records: Envelope) -> None:
        """What the audit finds in a log of these records."""
        opened = Event(
            environment="demo", root_sha256=self.trusted.sha256, station=STATION, kind="job", at="2026-11-22T20:00:00Z",
            order_id=self.floor.order.order_id, job=str(device.job), device_id=str(device.device_id), details={"adopted": "yes"},
        )  # fmt: skip
        story = Storyteller(self.trusted, STATION)
        leaves = [self.floor.order_envelope, envelope(opened), *records]
        found = [story.tell(parse_leaf(each), index).problems for index, each in enumerate(leaves)]
        if any(found):
            raise AuditError(found)


def signer_on_pin(court: Court, _: Device, pin: PinStatement) -> None:
    court.floor.factory.sign_pin(pin)


def registry_on_pin(court: Court, device: Device, pin: PinStatement) -> None:
    court.registry.pin(device.device_id, court.seal(pin, "pin"), court.floor.order_envelope)


def flow_on_pin(court: Court, device: Device, pin: PinStatement) -> None:
    sealed = court.seal(pin, "pin")
    told = court.floor.receipt(
        device, sealed, order_id=pin.order_id, device_id=pin.device_id, fingerprint=pin.fingerprint
    )
    record = PinRecord(state="provisional", statement=sealed, receipt=court.seal(told, "receipt"))
    checks.right_order(court.line, DeviceId.parse(pin.device_id), record)


def audit_on_pin(court: Court, device: Device, pin: PinStatement) -> None:
    court.tell(device, court.seal(pin, "pin"))


def signer_on_completion(court: Court, unit: Unit, done: Completion) -> None:
    court.floor.factory.sign_completion(done, unit.pin, unit.receipt)


def registry_on_completion(court: Court, unit: Unit, done: Completion) -> None:
    court.registry.complete(unit.device.device_id, court.seal(done, "completion"))


def flow_on_completion(court: Court, unit: Unit, done: Completion) -> None:
    pinned: Any = SimpleNamespace(pin=unit.pin, receipt=unit.receipt)
    passed.before(court.line, pinned, court.seal(done, "completion"), None, refused=None)


def audit_on_completion(court: Court, unit: Unit, done: Completion) -> None:
    court.tell(unit.device, unit.pin, unit.receipt, envelope(done), court.seal(done, "completion"))


def signer_on_receipt(court: Court, unit: Unit, receipt: Envelope) -> None:
    done = msgspec.structs.replace(unit.done, receipt_sha256=receipt.payload_sha256)
    court.floor.factory.sign_completion(done, unit.pin, receipt)


def flow_on_receipt(court: Court, unit: Unit, receipt: Envelope) -> None:
    record = PinRecord(state="provisional", statement=unit.pin, receipt=receipt)
    checks.right_order(court.line, unit.device.device_id, record)


def audit_on_receipt(court: Court, unit: Unit, receipt: Envelope) -> None:
    court.tell(unit.device, unit.pin, receipt)


ON_PIN: dict[str, Callable[[Court, Device, PinStatement], None]] = {
    "signer": signer_on_pin, "registry": registry_on_pin, "flow": flow_on_pin, "audit": audit_on_pin,
}  # fmt: skip
ON_COMPLETION: dict[str, Callable[[Court, Unit, Completion], None]] = {
    "signer": signer_on_completion, "registry": registry_on_completion, "flow": flow_on_completion,
    "audit": audit_on_completion,
}  # fmt: skip
ON_RECEIPT: dict[str, Callable[[Court, Unit, Envelope], None]] = {  # the registry gives them
    "signer": signer_on_receipt, "flow": flow_on_receipt, "audit": audit_on_receipt,
}  # fmt: skip
