"""The device service as it is run: signer, registry and it as processes, a station's requests, devices in the field."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.registry.access import StationClient, station_of
from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.field_units import TcpDevice, UdpDevice
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.relayed import Answer, carried, for_service, report_in, tcp_unit, udp_unit
from tests.registry.device_service.seeded import seeded
from tests.registry.make import Device, World, ec_key, world
from tests.registry.running import REPOSITORY
from tests.registry.test_api import pin_body
from tests.registry.test_real_signer import program, run
from trust import root_file as roots
from trust.dsse import Envelope
from trust.handshake import problem, reported
from trust.root import CloudKeys
from trust.statement import PinStatement, read

OWN = seeded("large", 2048)
pytestmark = pytest.mark.timeout(90)


@dataclass(frozen=True, slots=True)
class Site:
    """Directories of a signer and a registry, and worlds with an order for each service."""

    place: Path
    made: World
    keys: dict[str, bytes]

    def serving(self, what: str) -> tuple[str, ...]:
        root = ("--root", str(self.place / "root"))
        match what:
            case "signer":
                return ("hsm", "serve", "--dir", str(self.place / "signer-cloud"), *root)
            case "registry":
                return ("registry", "serve", "--dir", str(self.place / "registry"), *root, "--port", "0")
        return ("registry", "devices", "--dir", str(self.place / "registry"), *root)

    def world(self, protocol: str) -> World:
        return for_service(self.made, protocol, self.keys[f"cloud-{protocol}"])


@pytest.fixture(scope="module")
def site(worker_dir: Path) -> Site:
    place = Path(tempfile.mkdtemp(dir=worker_dir))
    names = ("--name", "registry-01", "--environment", "demo")
    run("hsm", "init", "--dir", str(place / "signer-cloud"), "--role", "cloud", *names)
    run("registry", "init", "--dir", str(place / "registry"), "--host", "localhost", *names)
    public = msgspec.json.decode((place / "signer-cloud" / "public.json").read_bytes(), type=dict[str, str])
    keys = {name: base64.b64decode(each) for name, each in public.items()}
    made = world(
        quantity=6_000, tls_root=ssl.PEM_cert_to_DER_cert((place / "registry" / "tls.crt").read_text()),
        receipt_spki=keys["receipt"], cloud_keys=CloudKeys(handshake=keys["handshake"]),
    )  # fmt: skip
    (place / "root").write_bytes(roots.wrap(made.trusted.root).to_json())
    return Site(place, made, keys)


@dataclass(slots=True)
class Bench:
    """A station with its token at a registry that runs."""

    client: httpx2.AsyncClient
    station: StationClient

    async def post(self, path: str, body: Answer) -> tuple[int, Answer]:
        response = await self.station.ask(self.client, "POST", path, msgspec.json.encode(body))
        return response.status_code, response.json()

    async def pinned(self, made: World, device: Device) -> PinStatement:
        statement = made.pin(device, station=self.station.name)
        body, path = pin_body(statement, made.order_envelope), f"/v1/pins/{device.device_id}"
        response = await self.station.ask(self.client, "PUT", path, body)
        assert response.status_code == 200, response.text
        return read(statement, PinStatement)


@asynccontextmanager
async def bench(site: Site, line: str) -> AsyncIterator[Bench]:
    found = re.search(r"port (\d+)", line)
    assert found
    context = ssl.create_default_context(cadata=site.made.trusted.root.tls_root)
    url = f"https://localhost:{found[1]}"
    async with httpx2.AsyncClient(base_url=url, verify=context, timeout=15) as client:
        yield Bench(client, station_of(site.made))


def cloud_rsa(spki: bytes) -> Any:
    """The cloud's public half, as the plain-number device uses it."""
    numbers = load_der_public_key(spki).public_numbers()  # type: ignore[union-attr]

    @dataclass
    class Public:
        n: int = numbers.n
        size: int = 256

        def public(self, value: bytes) -> bytes:
            return pow(int.from_bytes(value), numbers.e, self.n).to_bytes(self.size)

    return Public()


@contextmanager
def serving(*argv: str) -> Iterator[dict[str, str]]:
    """A program until the block ends; what it has said before it was ready, by its first word."""
    process = subprocess.Popen([sys.executable, "-m", *argv], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = {"pid": str(process.pid)}
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.match(r"listening: (\w+) .* port (\d+)", line):
                said[found[1]] = found[2]
            elif found := re.match(r"metrics: (.*)", line):
                said["metrics"] = found[1]
            elif line.startswith("ready"):
                break
        else:
            raise AssertionError("".join(lines))
        yield said
    finally:
        process.terminate()
        rest = process.communicate(timeout=10)[1]
    assert process.returncode == 0, rest
    assert not [each for each in ("Traceback", '"from":"concurrent"', '"from":"asyncio"') if each in rest], rest


@dataclass(slots=True)
class Fleet:
    """One device for each service, pinned; and what a station and the field see of them."""

    site: Site
    at: Bench
    ports: dict[str, str]
    devices: dict[str, Device]
    pins: dict[str, PinStatement]

    def cloud(self, protocol: str) -> Any:
        key = self.site.keys[f"cloud-{protocol}"]
        return cloud_rsa(key) if protocol == "tcp" else key

    async def relayed(self, protocol: str) -> Answer:
        device = self.devices[protocol]
        cloud = self.cloud(protocol)
        unit = tcp_unit(OWN, device, cloud) if protocol == "tcp" else udp_unit(device, cloud)
        return (await carried(self.at.post, device, protocol, unit))[-1]

    async def in_the_field(self, protocol: str) -> bool:
        device, port = self.devices[protocol], int(self.ports[protocol])
        if protocol == "tcp":
            return await TcpDevice(OracleDevice(OWN, self.cloud("tcp"), device.device_id.raw), port).greet()
        assert isinstance(device.key, ec.EllipticCurvePrivateKey)
        return await UdpDevice(Client(device.key, retransmit_ms=500), device.device_id.raw, port).greet(3)

    async def completed(self, protocol: str) -> None:
        made, device, pin = self.site.world(protocol), self.devices[protocol], self.pins[protocol]
        path = f"/v1/pins/{device.device_id}"
        held = (await self.at.station.ask(self.at.client, "GET", path)).json()
        told = [Envelope.from_json(json.dumps(held[each], separators=(",", ":"), sort_keys=True).encode())
                for each in ("statement", "receipt")]  # fmt: skip
        body = b'{"completion":%s}' % made.completion(device, *told, station=pin.station).to_json()
        response = await self.at.station.ask(self.at.client, "PUT", f"{path}/completion", body)
        assert response.status_code == 200, response.text

    def metrics(self) -> str:
        with urllib.request.urlopen(self.ports["metrics"], timeout=5) as answer:
            return answer.read().decode()


PROTOCOLS = ("tcp", "udp")


@asynccontextmanager
async def fleet(site: Site, line: str, ports: dict[str, str]) -> AsyncIterator[Fleet]:
    async with bench(site, line) as at:
        devices = {"tcp": Device(key=OWN.key), "udp": Device(key=ec_key())}
        pins = {each: await at.pinned(site.world(each), devices[each]) for each in PROTOCOLS}
        yield Fleet(site, at, ports, devices, pins)


async def a_day(there: Fleet, signer: ExitStack) -> None:
    """Provisional devices at the bench and in the field, the same when they are finished, a signer that goes and comes."""
    for protocol in PROTOCOLS:
        answer = await there.relayed(protocol)
        assert answer["state"] == "done", answer
        report, pin = reported(there.site.made.trusted, report_in(answer)), there.pins[protocol]
        assert problem(report, pin, there.site.world(protocol).order, station=pin.station) is None
        assert not await there.in_the_field(protocol), "a provisional pin is none there"
        await there.completed(protocol)
        assert await there.in_the_field(protocol)
        assert (await there.relayed(protocol))["state"] == "done"
    signer.close()
    for protocol in PROTOCOLS:
        answer = await there.relayed(protocol)
        assert answer["error"]["code"] == "device-service-unable", answer
        assert not await there.in_the_field(protocol)
    signer.enter_context(program(*there.site.serving("signer")))
    for protocol in PROTOCOLS:
        assert (await there.relayed(protocol))["state"] == "done"
        assert await there.in_the_field(protocol)
    told = there.metrics()
    for wanted in (
        'protocol="tcp",result="done",way="relay"} 3.0',
        'protocol="udp",result="not-pinned",way="field"} 1.0',
    ):
        assert wanted in told, told
    assert not [each for each in there.devices.values() if str(each.device_id) in told]


def open_ports(site: Site) -> None:
    settings = site.place / "registry" / "registry.toml"
    if "[devices]" not in settings.read_text():
        settings.write_text(f'{settings.read_text()}\n[devices]\ntcp = "127.0.0.1:0"\nudp = "127.0.0.1:0"\n')


def test_it_ends_without_a_traceback_while_its_signer_hangs(site: Site) -> None:
    """A handshake is at the signer when both are told to stop: the thread that waits for it finds everything open."""
    open_ports(site)
    with serving(*site.serving("signer")) as signer, ExitStack() as service:
        ports = service.enter_context(serving(*site.serving("devices")))
        with socket.create_connection(("127.0.0.1", int(ports["tcp"])), timeout=5) as line:
            assert len(line.recv(40)) == 40
            os.kill(int(signer["pid"]), signal.SIGSTOP)
            try:
                line.sendall(b"\x01" * 256)
                time.sleep(0.5)
                service.close()  # fails if a library has logged an error
            finally:
                os.kill(int(signer["pid"]), signal.SIGCONT)


def test_units_at_a_bench_and_devices_in_the_field(site: Site) -> None:
    open_ports(site)

    async def story(line: str, ports: dict[str, str], signer: ExitStack) -> None:
        async with fleet(site, line, ports) as there:
            await a_day(there, signer)

    with ExitStack() as signer:
        signer.enter_context(program(*site.serving("signer")))
        with (
            program(*site.serving("registry")) as line,
            serving(*site.serving("devices"), "--metrics-port", "0") as ports,
        ):
            asyncio.run(story(line, ports, signer))
