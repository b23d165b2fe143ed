"""A whole plant in one process: real flow, real signer policy, real registry service, real ledger; software tokens.

Everything lives in a directory, so that a forked or restarted process finds the same plant again. `Plant.make` builds a
new one, `Plant(directory)` opens what is there. Holds no assertion.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.families.smp.driver import Patience
from fixtures.families.smp.emulated import device as emulated
from fixtures.families.smp.emulated import verbs
from fixtures.families.smp.emulated.faults import Faults
from fixtures.indicators import NoIndicators
from fixtures.memory_slot import MemorySlot
from fixtures.slot import Slot
from hsm.signer import ReceiptSigner, Signer
from hsm.token import Token
from ledger.engine import Engine
from registry.database import Database, sqlite_url
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.leases.service import LeaseService
from registry.pins.record import PinRecord as Registered
from registry.pins.service import PinService
from station.attempt import Attempt
from station.cloud import Cloud, CloudRefusedError, CloudUnreachableError, PinRecord
from station.events import AnyEvent, UnitFinished
from station.faults import Fault
from station.headroom import Headroom
from station.jobs import Jobs
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.line import Line
from station.relay import Bounds, Relay
from tests import empty
from tests.flow.relaying import LocalRelay, NoRelay, TokenKeys
from tests.hsm.local_signer import LocalSigner, make_factory, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from tests.trust import orders
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import LeaseTerms, TrustedRoot
from trust.root_file import parse
from trust.root_file import wrap as wrap_root
from trust.statement import envelope, read

REGISTRY = "reg-01"
PRODUCT = 7
IMPATIENT = Patience(read_s=(0.2, 0.5), sign_s=(0.3, 0.5), write_s=(0.5,))


class LocalCloud:
    """`station.cloud.Cloud` over the registry's own service, without HTTP."""

    def __init__(self, service: PinService, leases: LeaseService | None = None) -> None:
        self._service = service
        self._leases = leases

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        return self._answer(lambda: self._service.pin(device, statement, order))

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        return self._answer(lambda: self._service.complete(device, completion))

    async def history(self, device: DeviceId) -> PinRecord | None:
        try:
            found = self._service.find(device)
        except ReceiptUnavailableError as error:
            raise CloudUnreachableError(str(error)) from error
        return None if found is None else _record(found)

    async def lease(self, request: Envelope) -> Envelope:
        assert self._leases is not None, "this registry grants no leases"
        try:
            return self._leases.grant(request)
        except ReceiptUnavailableError as error:
            raise CloudUnreachableError(str(error)) from error
        except RefusedError as error:
            raise CloudRefusedError(error.code, str(error)) from error

    def _answer(self, ask: Any) -> PinRecord:
        try:
            return _record(ask())
        except ReceiptUnavailableError as error:
            raise CloudUnreachableError(str(error)) from error
        except RefusedError as error:
            stored = None if error.stored is None else _record(error.stored)
            raise CloudRefusedError(error.code, str(error), stored) from error


def _record(found: Registered) -> PinRecord:
    done = found.completion
    return PinRecord(
        state=found.state,
        statement=found.pin.statement,
        receipt=found.pin.receipt,
        completion=done.statement if done else None,
        completion_receipt=done.receipt if done else None,
    )


@dataclass(frozen=True, slots=True)
class Parties:
    """What a line is made of; tests wrap any of them."""

    signer: Signer
    cloud: Cloud
    jobs: Jobs
    relay: Relay = field(default_factory=NoRelay)


class Plant:
    """The plant in a directory. One registry, any number of stations, any number of devices."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root: TrustedRoot = parse((directory / "root.json").read_bytes())
        self.order = Envelope.from_json((directory / "order.json").read_bytes())
        self.work = read(self.order, WorkOrder)
        self.events: list[AnyEvent] = []
        self._open: list[Any] = []

    @classmethod
    def make(
        cls, directory: Path, *, stations: Sequence[str] = ("st-01",), leases: int = 0, tcp: bool = False,
        udp: bool = False, **order: Any,
    ) -> Plant:  # fmt: skip
        """A new plant; `leases`: its root wants leases of so many units; other keywords change the order.

        `tcp`: RSA devices of the TCP service, whose order wants a live handshake; `udp`: EC devices of the other.
        """
        tokens = {name: SoftwareToken.make(directory / name, "factory", rsa_keys=False) for name in stations}
        cloud = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
        if tcp:
            (directory / "cloud" / "cloud-tcp.pem").write_bytes(service_key())
            order = {**over_tcp(cloud), **order}
        if udp:
            order = {"cloud_key": cloud.public_key("cloud-udp"), "handshakes": ("udp",), **order}
        root = make_root(tokens, REGISTRY, cloud)
        if leases:
            root = with_leases(root, cloud, leases)
        (directory / "root.json").write_bytes(wrap_root(root.root).to_json())
        (directory / "order.json").write_bytes(envelope(make_order(root, tuple(stations), **order)).to_json())
        empty.registry_database(directory / "registry.db")
        plant = cls(directory)
        for name in stations:
            empty.station_database(directory / f"{name}.db")
            plant.signer(name).verbs.import_order(plant.order)
        return plant

    def token(self, place: str) -> Token:
        """The software token in that directory."""
        return SoftwareToken(self.directory / place)

    def signer(self, station: str = "st-01") -> LocalSigner:
        factory = make_factory(self.directory / station, station, self.root, self.token(station))
        self._open.append(factory.signatory.counters)
        return LocalSigner(factory)

    def receipt_signer(self) -> ReceiptSigner:
        """The registry's own signer."""
        cloud = make_registry(self.directory / "cloud", REGISTRY, self.root, self.token("cloud"))
        self._open.append(cloud.signatory.counters)
        return cloud

    def registry(self) -> PinService:
        database = self.registry_database()
        self._open.append(database)
        return PinService(database, self.root, self.receipt_signer())

    def cloud(self) -> LocalCloud:
        """The registry, which grants leases if the root wants them."""
        database = self.registry_database()
        self._open.append(database)
        signer = self.receipt_signer()
        return LocalCloud(PinService(database, self.root, signer), LeaseService(database, self.root, signer))

    def registry_database(self) -> Database:
        return Database.open(sqlite_url(self.directory / "registry.db"))

    def ledger(self, station: str = "st-01") -> Engine:
        return open_database(self.directory / f"{station}.db")

    def stamp(self, station: str = "st-01") -> Stamp:
        return Stamp(station=station, environment="demo", root_sha256=self.root.sha256)

    def jobs(self, station: str = "st-01") -> JobStore:
        return JobStore(self.ledger(station), self.stamp(station))

    def parties(self, station: str = "st-01") -> Parties:
        return Parties(self.signer(station), self.cloud(), self.jobs(station), self.relay(station))

    def relay(self, station: str = "st-01", **keys: Any) -> Relay:
        """The device service, if this plant's order has one; keywords as `TokenKeys` has them."""
        token = SoftwareToken(self.directory / "cloud")
        if self.work.service != "tcp" and not self.work.handshakes:
            return NoRelay()
        database = self.registry_database()
        relay = LocalRelay(database, self.root, TokenKeys(token, **keys), station, self.work.service)
        self._open += [relay, database]
        return relay

    def line(self, parties: Parties, station: str = "st-01", **changes: Any) -> Line:
        settings = {"indicators": NoIndicators(), "emit": self.events.append, "relay": parties.relay, **changes}
        return self.line_of(station, jobs=parties.jobs, signer=parties.signer, cloud=parties.cloud, **settings)

    def line_of(self, station: str, **parts: Any) -> Line:
        room = Headroom(self.work.quantity)
        quick = {"headroom": room, "max_attempts": 10, "generation_timeout_s": 120.0, "longest_pause_s": 0.01}
        quick |= {"relay": NoRelay(), "bounds": Bounds(away_s=0.1)}
        return Line(station=station, root=self.root, order=self.order, work=self.work, **{**quick, **parts})

    def new_device(self, name: str = "dev-1", *, product: int = PRODUCT) -> DeviceId:
        raw = b"\xe0\x0f" + secrets.token_bytes(10)
        emulated.create(self.directory / f"{name}.flash", device_id=raw, product=product)
        return DeviceId(raw)

    def slot(self, name: str = "dev-1", faults: Faults | None = None, **options: Any) -> MemorySlot:
        device = emulated.EmulatedDevice(self.directory / f"{name}.flash", faults)
        return MemorySlot(name, device, **{"patience": IMPATIENT, **options})

    def close(self) -> None:
        for each in self._open:
            each.close()
        self._open.clear()


async def attempt(plant: Plant, parties: Parties, slot: Slot, station: str = "st-01", **changes: Any) -> UnitFinished:
    """One insertion, without a floor around it; keywords change the line."""
    line = plant.line(parties, station, **changes)
    work = Attempt(line, slot)
    try:
        result = await work.passed()
    except Fault as found:
        result = await work.failed(found)
    finally:
        await work.close()
    line.headroom.leave(slot.config.name, result)
    return result


@cache
def service_key() -> bytes:
    """The TCP service's RSA key as PEM, made once a process: a new one takes longer than all else of a plant."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def over_tcp(cloud: SoftwareToken) -> dict[str, Any]:
    """What an order of RSA devices says that meet the TCP service live."""
    return {
        "service": "tcp", "port": 5683, "key_type": "rsa-2048", "cloud_key": cloud.public_key("cloud-tcp"),
        "handshakes": ("tcp",),
    }  # fmt: skip


def with_leases(plain: TrustedRoot, cloud: SoftwareToken, units: int) -> TrustedRoot:
    """The same root, with the cloud token's lease and revocation keys."""
    keys = {name: cloud.public_key(name) for name in ("lease", "revocation")}
    registry_keys = msgspec.structs.replace(plain.root.registry_keys, **keys)
    root = msgspec.structs.replace(plain.root, registry_keys=registry_keys, lease=LeaseTerms(units=units))
    return parse(wrap_root(root).to_json())


def make_order(root: TrustedRoot, stations: tuple[str, ...], **changes: Any) -> WorkOrder:
    """An order that holds; RSA devices with `key_type="rsa-2048"`."""
    return orders.make(root.sha256, stations, verbs.IMAGE.hex(), **{"host": "udp.devices.example", **changes})
