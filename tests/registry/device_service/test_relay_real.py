"""The relay as it is run: signer, registry and device service as processes, a station's requests, a device's bytes."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.registry.access import StationClient, station_of
from tests.registry.device_service.relayed import (
    Answer,
    carried,
    for_service,
    report_in,
    tcp_unit,
    udp_unit,
)
from tests.registry.device_service.seeded import seeded
from tests.registry.make import Device, World, ec_key, world
from tests.registry.test_api import pin_body
from tests.registry.test_real_signer import program, run
from trust import root_file as roots
from trust.handshake import problem, reported
from trust.root import CloudKeys
from trust.statement import PinStatement, read

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
        tls_root=ssl.PEM_cert_to_DER_cert((place / "registry" / "tls.crt").read_text()),
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
async def bench(site: Site, line: str):
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


def test_both_protocols_come_to_a_report_that_holds(site: Site) -> None:
    tcp, udp = site.world("tcp"), site.world("udp")
    own = seeded("large", 2048)

    async def story(line: str) -> None:
        async with bench(site, line) as at:
            for made, protocol, device in ((tcp, "tcp", Device(key=own.key)), (udp, "udp", Device(key=ec_key()))):
                pin = await at.pinned(made, device)
                cloud = site.keys[f"cloud-{protocol}"]
                unit = tcp_unit(own, device, cloud_rsa(cloud)) if protocol == "tcp" else udp_unit(device, cloud)
                answers = await carried(at.post, device, protocol, unit)
                assert answers[-1]["state"] == "done", answers[-1]
                assert unit.through
                report = reported(site.made.trusted, report_in(answers[-1]))
                assert problem(report, pin, made.order, station=pin.station) is None
                print(protocol, len(answers), report.suite)

    with (
        program(*site.serving("signer")),
        program(*site.serving("registry")) as line,
        program(*site.serving("devices")),
    ):
        asyncio.run(story(line))
