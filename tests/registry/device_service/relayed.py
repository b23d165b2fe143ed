"""Units whose handshake a station relays, the service's keys in memory, and a relay desk in a thread. Holds no assertion.

`carried` is a station: it moves what either side has to send, a request at a time, as docs/statements.md says it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from registry.clock import utc_now
from registry.database import Database
from registry.device_service.parts import Parts
from registry.device_service.pins import RegistryPins
from registry.device_service.proposed import ProposedKeys
from registry.device_service.relay.desk import Desk
from registry.device_service.relay.listening import listening
from registry.device_service.relay.server import RelayServer
from registry.device_service.relay.word import Reporter
from registry.device_service.running import desk_of
from registry.device_service.seen import SeenRandoms
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.library import Library
from registry.settings import DevicesConfig
from registry.telemetry.devices import DeviceMetrics
from tests.registry.device_service.dtls_client import Client, spki_of
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import Rsa, seeded
from tests.registry.device_service.service_end import Signer
from tests.registry.device_service.test_conversation import hello as coap_hello
from tests.registry.device_service.test_conversation import message
from tests.registry.device_service.test_tcp import Keys
from tests.registry.make import Device, World, signed
from tests.registry.running import Plant
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.order import WorkOrder
from trust.root import TrustedRoot

HELLO = bytes.fromhex("00070003000200010000")
Answer = dict[str, Any]
Post = Callable[[str, Answer], Awaitable[tuple[int, Answer]]]
"""Sends a JSON body; status and answer."""


class Unit(Protocol):
    """A unit's tunnel: its client of the service."""

    def give(self, data: bytes) -> None: ...

    def take(self) -> list[bytes]: ...

    @property
    def through(self) -> bool: ...


@dataclass(slots=True)
class TcpUnit:
    """Over the stream: message 2, then the Hello, then it waits for the service's."""

    device: OracleDevice
    came: bytes = b""
    out: list[bytes] = field(default_factory=list)
    state: int = 1
    heard: bytes = b""  # all that went over the line
    answer: bytes = b""

    def give(self, data: bytes) -> None:
        self.heard += data
        self.came += data
        wants = {1: 40, 2: self.device.own.size + 256}.get(self.state)
        if self.state == 3 and len(self.came) >= 2:
            wants = 2 + int.from_bytes(self.came[:2], "big")
        if wants is None or len(self.came) < wants:
            return
        message, self.came = self.came[:wants], self.came[wants:]
        if self.state == 1:
            self._send(self.device.message_2(message))
        elif self.state == 2:
            self.device.read_3(message)
            self._send(self.device.seal(coap_hello(self.device.first_id)))
        else:
            self.answer = self.device.open(message)
        self.state += 1

    def _send(self, data: bytes) -> None:
        self.heard += data
        self.out += [data[:200], data[200:]] if len(data) > 200 else [data]

    def take(self) -> list[bytes]:
        taken, self.out = self.out, []
        return taken

    @property
    def through(self) -> bool:
        return self.state == 4


@dataclass(slots=True)
class UdpUnit:
    """Over datagrams: DTLS, then a confirmable Hello with its id."""

    client: Client
    device_id: bytes
    greeted: bool = False
    answers: list[bytes] = field(default_factory=list)

    def give(self, data: bytes) -> None:
        self.client.inbox.append(data)

    def take(self) -> list[bytes]:
        self.answers += self.client.step()
        if self.client.done and not self.greeted and not self.client.failed:
            self.greeted = True
            payload = HELLO[:9] + bytes([12]) + self.device_id
            self.client.send(message(0, 2, 77, b"\xb1h\xff" + payload))
        taken = list(self.client.outbox)
        self.client.outbox.clear()
        return taken

    @property
    def through(self) -> bool:
        return len(self.answers) == 2


async def begun(
    post: Post, device: Device, protocol: str, first: list[str] | None = None, **changes: str
) -> tuple[int, Answer]:
    body = {"device_id": str(device.device_id), "job": str(device.job), "protocol": protocol, **changes}
    if first:
        return await post("/v1/handshakes", {**body, "received": first})
    return await post("/v1/handshakes", body)


async def carried(post: Post, device: Device, protocol: str, unit: Unit, most: int = 20) -> list[Answer]:
    """All answers, to the one that is not `running`, or to a refusal's."""
    first = [base64.b64encode(each).decode() for each in unit.take()]
    _, answer = await begun(post, device, protocol, first)
    answers = [answer]
    while answer.get("state") == "running" and len(answers) < most:
        for each in answer["send"]:
            unit.give(base64.b64decode(each))
        received = [base64.b64encode(each).decode() for each in unit.take()]
        _, answer = await post(f"/v1/handshakes/{answer['handshake']}", {"received": received, "ended": False})
        answers.append(answer)
    for each in answer.get("send", ()):
        unit.give(base64.b64decode(each))
    unit.take()
    return answers


@dataclass(slots=True)
class SoftwareKeys(Keys):
    """The signer's verbs over keys in this process."""

    udp: Signer = field(default_factory=Signer)
    handshake: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    fault: Exception | None = None
    reports: list[HandshakeReport] = field(default_factory=list)

    def dtls_sign(self, digest: bytes) -> bytes:
        if self.fault is not None:
            raise self.fault
        return self.udp.sign(digest)

    def tcp_sign(self, mac: bytes) -> bytes:
        if self.fault is not None:
            raise self.fault
        return Keys.tcp_sign(self, mac)

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        if self.fault is not None:
            raise self.fault
        self.reports.append(report)
        return signed(report, self.handshake)


def software_keys() -> SoftwareKeys:
    return SoftwareKeys(seeded("cloud", 2048))


def parts_of(
    database: Database, trusted: TrustedRoot, keys: SoftwareKeys, *, order: WorkOrder | None = None, **config: Any
) -> Parts:
    """`order`: as if its cloud key were the service's own."""
    spki = {"tcp": keys.cloud.spki, "udp": spki_of(keys.udp.key)}
    cloud = {name: public_fingerprint(each) for name, each in spki.items()}
    if order is not None:
        cloud[order.service] = order.cloud.fingerprint
    credentials = Credentials(Library.load(), spki["udp"], keys.dtls_sign)
    proposals = ProposedKeys(database=database, trusted=trusted)
    return Parts(
        proposals=proposals, config=msgspec.convert(config, DevicesConfig), pins=RegistryPins(database, trusted),
        reporter=Reporter(trusted=trusted, keys=keys, cloud=cloud, now=utc_now), credentials=credentials,
        seen=SeenRandoms(database),
    )  # fmt: skip


def public_fingerprint(spki: bytes) -> str:
    return hashlib.sha256(spki).hexdigest()


@contextmanager
def desk_at(path: Path, parts: Parts, uids: tuple[int, ...] = (0,)) -> Iterator[Desk]:
    """A relay desk that answers on this socket, in a thread with an event loop of its own."""
    made: list[Desk] = []
    ready = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        with ThreadPoolExecutor(4) as work, listening(path) as bound:
            desk = desk_of(parts, work, work, DeviceMetrics(version="1", environment="demo"))
            made.append(desk)
            async with RelayServer(desk, uids).serving(bound):
                over, loop = asyncio.Event(), asyncio.get_running_loop()
                ends.append(lambda: loop.call_soon_threadsafe(over.set))
                ready.set()
                await over.wait()
            desk.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        if not ready.wait(5):
            raise RuntimeError("the desk does not serve")
        yield made[0]
    finally:
        for each in ends:
            each()
        thread.join()


def desk_of_plant(plant: Plant, database: Database, keys: SoftwareKeys | None = None) -> AbstractContextManager[Desk]:
    """The device service of a registry's directory, its signer in memory."""
    parts = parts_of(database, plant.made.trusted, keys or software_keys(), order=plant.made.order)
    return desk_at(plant.directory / "run" / "devices.sock", parts)


def tcp_unit(own: Rsa, device: Device, cloud: Rsa) -> TcpUnit:
    return TcpUnit(
        OracleDevice(
            own, cloud, device.device_id.raw, filling=bytes(1 + each % 255 for each in secrets.token_bytes(255))
        )
    )


def udp_unit(device: Device, cloud: bytes, **changes: Any) -> UdpUnit:
    assert isinstance(device.key, ec.EllipticCurvePrivateKey)
    return UdpUnit(Client(device.key, cloud=cloud, retransmit_ms=2_000, mtu=600, **changes), device.device_id.raw)


def report_in(answer: Answer) -> Envelope:
    return Envelope.from_json(json.dumps(answer["report"], separators=(",", ":"), sort_keys=True).encode())


def for_service(made: World, protocol: str, cloud: bytes) -> World:
    """The same world, its order for this service."""
    key_type = {"tcp": "rsa-2048", "udp": "ec-p256"}[protocol]
    return made.with_order(service=protocol, cloud_key=cloud, key_type=key_type, order_id=f"order-{protocol}")
