"""A finished, locked unit in a slot and a registry with a cloud signer, in one process: what reworks are tried on.

The station's side is the real one (`station.rework.flow` over the driver and an in-process device); the registry is asked
through its routes' own functions, so that JSON goes both ways. Holds no assertion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.device import Anchor, Service
from fixtures.families.smp.driver import Patience
from fixtures.families.smp.emulated import device as emulated
from fixtures.families.smp.emulated import flash
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot
from registry.access.caller import STATION_SCOPES, StationCaller
from registry.access.guard import Heading
from registry.database import Database, sqlite_url
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.routes import devices as routes
from registry.routes.route import Asked
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.devices import ApproverCode, Devices
from station.events import ReworkEvent, ReworkFinished
from station.jobs.counts import Tally
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.line import Clock
from station.rework.acts import attempted
from station.rework.bench import ReworkBench
from tests.hsm.local_signer import make_registry
from tests.hsm.software_token import SoftwareToken
from tests.registry.living import WHO, Living
from tests.registry.make import Device, ec_key, public, world
from tests.trust.orders import changed
from tests.trust.people import approved_by, approvers, file_of
from tests.trust.pin_acts import NOW, utc
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.pin_act import PinAct, body
from trust.rekey import anchor_sha256
from trust.root import CloudKeys, RegistryKeys
from trust.root_file import parse, wrap
from trust.statement import Event

IMPATIENT = Patience(read_s=(0.1, 0.2), sign_s=(0.1, 0.2), write_s=(0.2,))
_NO_HEADING = Heading(method="", path="", authorization=(), dpop=())
ENDS = utc(NOW + timedelta(days=7))


class KilledError(BaseException):
    """The station's process is gone: nothing of it runs on."""


def site_with_signer(database: Database, directory: Path) -> Living:
    """A registry whose signer is a cloud signer, authority key and all."""
    token = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
    receipt, revocation, authority = (token.public_key(each) for each in ("receipt", "revocation", "authority"))
    plain = world()
    order = changed(plain.order, authority_key=authority)
    root = msgspec.structs.replace(
        plain.trusted.root, approvers=approvers(WHO.values()),
        cloud_keys=CloudKeys(device_service=(order.cloud_key,), authority=(authority,), handshake=public(ec_key()).spki),
        registry_keys=RegistryKeys(receipt=receipt, revocation=revocation),
    )  # fmt: skip
    trusted = parse(file_of(approved_by(wrap(root), WHO["ada"], WHO["ben"])))
    made = replace(plain, trusted=trusted, order=changed(order, root_sha256=trusted.sha256))

    def clock() -> float:
        return found.now.timestamp()

    cloud = make_registry(directory / "cloud", "registry-01", trusted, token, clock)
    found = Living(database, made, cloud, ec.generate_private_key(ec.SECP256R1()))  # type: ignore[arg-type]
    return found


def finished(site: Living, device_id: DeviceId) -> Device:
    """A device, pinned and active."""
    device = Device(device_id=device_id)
    pin = site.made.pin(device, order_signed=True, made_at=utc(NOW))
    held = site.pins.pin(device.device_id, pin, site.order)
    site.pins.complete(device.device_id, site.made.completion(device, pin, held.pin.receipt))
    return device


@dataclass(slots=True)
class Registry:
    """`station.cloud.devices.Asks` over the routes' functions, as the station that made the device."""

    site: Living
    point: Callable[[str], Any]

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with self.point(f"registry {path.rsplit('/', 1)[-1] if method == 'POST' else 'held'}"):
            return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: bytes | None) -> bytes:
        device = path.split("/")[3]
        pattern = path.replace(device, "{device_id}")
        route = next(each for each in routes.ROUTES if (each.method, each.path) == (method, pattern))
        caller = StationCaller(next(iter(self.site.made.order.stations)), STATION_SCOPES)
        asked = Asked(path={"device_id": device}, body=body or b"", heading=_NO_HEADING, caller=caller)
        try:
            answer = route.work(self.site, asked)  # type: ignore[arg-type]  # of the services it uses `acts` alone
        except RefusedError as error:
            raise CloudRefusedError(error.code, str(error)) from error
        except ReceiptUnavailableError as error:
            raise CloudUnreachableError(str(error)) from error
        if answer.status_code != 200:
            raise CloudRefusedError(msgspec.json.decode(answer.body)["error"]["code"], "no")
        return bytes(answer.body)


@dataclass(slots=True)
class Memory:
    """A ledger that survives the station's process."""

    point: Callable[[str], Any]
    events: list[Event] = field(default_factory=list)

    async def note(self, event: Event) -> None:
        with self.point(f"note {event.kind}"):
            self.events.append(event)

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        return tuple(each for each in self.events if each.device_id == str(device) and each.kind in kinds)


@dataclass(slots=True)
class Ledger:
    """A station's real ledger, for reworks and scrap; each write is a point at which the station may die."""

    store: JobStore
    point: Callable[[str], Any]

    async def note(self, event: Event) -> None:
        with self.point(f"note {event.kind}"):
            await self.store.note(event)

    async def keep_paper(self, paper: Envelope) -> None:
        with self.point("paper"):
            await self.store.keep_paper(paper)

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        return await self.store.told_of(device, kinds)

    async def devices_told_of(self, kind: str) -> frozenset[str]:
        return await self.store.devices_told_of(kind)

    async def scrapped_tally(self, order_id: str) -> Tally:
        return await self.store.scrapped_tally(order_id)


class Points:
    """Every call to registry and ledger, in order; at one of them the station dies, or the registry's answer is lost."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self.kill_after: int | None = None
        self.kill_before: int | None = None
        self.lose: int | None = None

    def __call__(self, name: str) -> Any:
        return _At(self, name)


class _At:
    def __init__(self, points: Points, name: str) -> None:
        self._points, self._name = points, name
        self._number = len(points.met)

    def __enter__(self) -> None:
        self._points.met.append(self._name)
        if self._number == self._points.kill_before:
            raise KilledError

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._number == self._points.kill_after:
            raise KilledError
        if kind is None and self._number == self._points.lose and self._name.startswith("registry"):
            raise CloudUnreachableError(f"{self._name}: the answer was lost")


class Benched:
    """One unit, finished under the site's order, and what a station needs to rework it."""

    def __init__(self, site: Living, directory: Path, device: DeviceId | None = None) -> None:
        self.site = site
        self.path = directory / "unit.flash"
        self.points = Points()
        self.memory = Memory(self.points)
        self.device = self._finished(device or DeviceId(b"\xe0\x0f" + b"rework-uni"))
        self.events: list[ReworkEvent] = []

    def _finished(self, device_id: DeviceId) -> Device:
        device = finished(self.site, device_id)
        emulated.create(self.path, device_id=device.device_id.raw, product=7)
        order = self.site.made.order
        private = device.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        anchor = flash.AnchorRecord(
            order.cloud_key, order.authority_key, {"tcp": 0, "udp": 1}[order.service], order.host, order.port
        )
        held_now = flash.load(self.path)
        flash.store(
            self.path,
            msgspec.structs.replace(
                held_now, key=flash.KeyRecord(1, private, device.job.raw), anchor=anchor, locked_for=device.job.raw
            ),
        )
        return device

    def _emulated(self, faults: Faults | None = None) -> emulated.EmulatedDevice:
        return emulated.EmulatedDevice(self.path, faults)

    def slot(self, faults: Faults | None = None) -> MemorySlot:
        """The unit, put in anew: it has lost power since it was last seen."""
        return MemorySlot("slot-01", self._emulated(faults), patience=IMPATIENT)

    def flash(self) -> flash.Flash:
        return flash.load(self.path)

    def bench(self, act: Envelope, **changes: Any) -> ReworkBench:
        wanted: PinAct = body(act)
        trusted = self.site.made.trusted
        stamp = Stamp(
            station=next(iter(self.site.made.order.stations)), environment=trusted.root.environment,
            root_sha256=trusted.sha256, now=lambda: self.site.now,
        )  # fmt: skip
        settings: dict[str, Any] = {
            "root": trusted, "act": act, "wanted": wanted, "anchor": None, "memory": self.memory, "stamp": stamp,
            "registry": Devices(Registry(self.site, self.points)), "emit": self.events.append,
            "generation_timeout_s": 20.0, "longest_pause_s": 0.01, "clock": Clock(now=lambda: self.site.now),
        }  # fmt: skip
        return ReworkBench(**{**settings, **changes})

    async def rework(self, act: Envelope, slot: MemorySlot | None = None, **changes: Any) -> ReworkFinished:
        """One insertion."""
        slot = slot or self.slot()
        try:
            return await attempted(self.bench(act, **changes), slot)
        finally:
            slot._device.power_off()


def another_anchor(benched: Benched) -> tuple[Anchor, str]:
    """The order's keys at another address, and how an act names it."""
    order = benched.site.made.order
    sha256 = anchor_sha256(
        cloud_key=order.cloud_key,
        authority_key=order.authority_key,
        service=order.service,
        host="new.example",
        port=5684,
    )
    service = Service(order.service)
    anchor = Anchor(
        cloud_key=order.cloud, authority_key=order.authority, service=service, host="new.example", port=5684
    )
    return anchor, sha256


def unasked() -> ApproverCode:
    """For a unit that was finished."""
    raise AssertionError("of a finished unit no code is asked")


Fresh = Callable[[], Benched]


@contextmanager
def fresh_benches(directory: Path, migrated: bytes) -> Iterator[Fresh]:
    """As many units as a test wants, each with a registry of its own."""
    opened: list[Database] = []

    def another() -> Benched:
        place = directory / f"site-{len(opened)}"
        place.mkdir()
        (place / "registry.db").write_bytes(migrated)
        opened.append(Database.open(sqlite_url(place / "registry.db")))
        return Benched(site_with_signer(opened[-1], place), place)

    yield another
    for each in opened:
        each.close()
