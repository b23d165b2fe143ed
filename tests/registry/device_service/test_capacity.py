"""How many devices a service takes: handshakes a second beside what the module can do, and sessions that idle. Soak only.

Signer, service and devices share this machine's cores, so that CPU time of each is told, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.registry.device_service.crowd import Fleet, tcp_device
from tests.registry.device_service.test_devices_real import Bench, Site, bench, serving, site
from tests.registry.make import Device, PrivateKey, ec_key
from tests.registry.running import REPOSITORY

from cryptography.hazmat.primitives.asymmetric import rsa  # isort: skip
from trust.dsse import Envelope

__all__ = ["site"]
Record = Callable[[str, object], None]
_TICKS = os.sysconf("SC_CLK_TCK")
AT_ONCE = {"tcp": 96, "udp": 24}
"""Handshakes under way: over TCP each waits for its beat."""


def der(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def made_fleet(protocol: str, many: int) -> list[Device]:
    """RSA keys in processes' worth of threads: OpenSSL lets go of the interpreter."""
    with ThreadPoolExecutor(2) as work:
        keys = list(
            work.map(lambda _: rsa.generate_private_key(65537, 2048) if protocol == "tcp" else ec_key(), range(many))
        )
    return [Device(key=key) for key in keys]


async def active(site: Site, at: Bench, protocol: str, devices: list[Device]) -> None:
    """Pinned and finished."""
    made = site.world(protocol)
    for device in devices:
        pin = await at.pinned(made, device)
        path = f"/v1/pins/{device.device_id}"
        held = (await at.station.ask(at.client, "GET", path)).json()
        told = [
            Envelope.from_json(json.dumps(held[each], separators=(",", ":"), sort_keys=True).encode())
            for each in ("statement", "receipt")
        ]
        body = b'{"completion":%s}' % made.completion(device, *told, station=pin.station).to_json()
        response = await at.station.ask(at.client, "PUT", f"{path}/completion", body)
        assert response.status_code == 200, response.text


def limits(site: Site, seconds: float) -> tuple[float, float, float]:
    """Of the module: RSA pairs and ECDSA signatures a second, CPU milliseconds of a pair."""
    argv = [
        sys.executable,
        "-m",
        "tests.registry.device_service.module_limit",
        site.place / "signer-cloud",
        str(seconds),
    ]
    done = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    pairs, signatures, cost = map(float, done.stdout.split())
    return pairs, signatures, cost


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def child_of(words: str) -> int:
    """The process of ours whose command line has these words."""
    for each in Path("/proc").iterdir():
        try:
            line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = (each / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if words in line and int(parent) == os.getpid():
            return int(each.name)
    raise AssertionError(words)


@dataclass(slots=True)
class Measured:
    """One protocol's."""

    protocol: str
    a_second: float
    limit: float
    failed: int
    cpu_ms: dict[str, float]

    @property
    def without_devices(self) -> float:
        """Handshakes a second if the devices' own work were done elsewhere, by CPU time."""
        return 2_000 / (self.cpu_ms["service"] + self.cpu_ms["signer"])

    def __str__(self) -> str:
        cost = ", ".join(f"{name} {each:.2f}" for name, each in self.cpu_ms.items())
        return (
            f"{self.protocol}: {self.a_second:.0f} handshakes/s, {self.failed} failed; the module alone {self.limit:.0f}/s, "
            f"ratio {self.a_second / self.limit:.2f}; CPU ms a handshake: {cost}; two cores for service and signer "
            f"alone: {self.without_devices:.0f}/s, ratio {self.without_devices / self.limit:.2f}"
        )


def shaken(
    site: Site, protocol: str, port: str, fleet: Fleet, *, seconds: float, at_once: int, limit: float
) -> Measured:
    path = site.place / f"fleet-{protocol}"
    path.write_bytes(msgspec.json.encode(fleet))
    pids = {"service": child_of("registry devices"), "signer": child_of("hsm serve")}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    argv = [
        sys.executable,
        "-m",
        "tests.registry.device_service.crowd",
        protocol,
        port,
        str(seconds),
        str(at_once),
        path,
    ]
    done = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    cost = {name: 1_000 * (cpu_s(pid) - before[name]) / told["done"] for name, pid in pids.items()}
    cost["devices"] = 1_000 * told["cpu_s"] / told["done"]
    return Measured(protocol, told["done"] / seconds, limit, told["failed"], cost)


@contextmanager
def started(*argv: str) -> Iterator[str]:
    """A program by its own command line, as what is measured is the process; the line that says that it is ready."""
    process = subprocess.Popen([sys.executable, "-m", *argv], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(line for line in process.stderr if line.startswith("ready"))
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


@contextmanager
def running(site: Site) -> Iterator[tuple[str, dict[str, str]]]:
    """Signer, registry and device service; the registry's line and the service's ports."""
    settings = site.place / "registry" / "registry.toml"
    text = settings.read_text().partition("\n[devices]")[0].replace("rate_factor = 1.0", "rate_factor = 0.0")
    most = "tcp_connections_of_an_address = 10000"
    settings.write_text(f'{text}\n[devices]\ntcp = "127.0.0.1:0"\nudp = "127.0.0.1:0"\n{most}\n')
    with ExitStack() as stack:
        stack.enter_context(started(*site.serving("signer")))
        line = stack.enter_context(started(*site.serving("registry")))
        yield line, stack.enter_context(serving(*site.serving("devices"), "--metrics-port", "0"))


def fleet_of(site: Site, protocol: str, devices: list[Device]) -> Fleet:
    return Fleet(site.keys[f"cloud-{protocol}"], tuple((each.device_id.raw, der(each.key)) for each in devices))


async def at_the_registry(site: Site, line: str, protocol: str, devices: list[Device]) -> None:
    async with bench(site, line) as at:
        await active(site, at, protocol, devices)


def measured(site: Site, protocol: str, *, devices: int, seconds: float, at_once: int) -> Measured:
    pairs, signatures, _ = limits(site, min(seconds, 5.0))
    many = made_fleet(protocol, devices)
    with running(site) as (line, ports):
        asyncio.run(at_the_registry(site, line, protocol, many))
        fleet, limit = fleet_of(site, protocol, many), pairs if protocol == "tcp" else signatures
        return shaken(site, protocol, ports[protocol], fleet, seconds=seconds, at_once=at_once, limit=limit)


@pytest.mark.timeout(120)
def test_a_few(site: Site) -> None:
    with running(site) as (line, ports):
        for protocol in ("tcp", "udp"):
            many = made_fleet(protocol, 2)
            asyncio.run(at_the_registry(site, line, protocol, many))
            fleet = fleet_of(site, protocol, many)
            found = shaken(site, protocol, ports[protocol], fleet, seconds=0.5, at_once=2, limit=1)
            assert found.a_second > 0 and found.failed == 0, found


@pytest.mark.soak
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_handshakes_a_second(site: Site, protocol: str, record_property: Record) -> None:
    for turn in range(3):
        found = measured(site, protocol, devices=AT_ONCE[protocol], seconds=20, at_once=AT_ONCE[protocol])
        record_property("figures", f"{turn + 1}: {found}")
        assert found.failed == 0, found


@asynccontextmanager
async def idling(fleet: Fleet, port: int, many: int) -> AsyncIterator[Callable[[], int]]:
    """So many sessions, each with a ping every 15 s; how many have been answered lately."""
    answered = [False] * many
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        device = tcp_device(fleet, number, port)
        async with gate:
            assert await device.greet(), number
        while True:
            answered[number] = await device.ping()
            await asyncio.sleep(15)

    tasks = [asyncio.create_task(one(number)) for number in range(many)]
    try:
        yield lambda: sum(answered)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.soak
def test_five_thousand_idle_sessions(site: Site, record_property: Record) -> None:
    many = 5_000
    devices = made_fleet("tcp", many)  # a device has one session
    with running(site) as (line, ports):
        asyncio.run(at_the_registry(site, line, "tcp", devices))
        service = child_of("registry devices")
        before = rss_mb(service)

        async def story() -> None:
            async with idling(fleet_of(site, "tcp", devices), int(ports["tcp"]), many) as answered:
                until = time.monotonic() + 300
                while answered() < many and time.monotonic() < until:  # noqa: ASYNC110 - of many tasks
                    await asyncio.sleep(1)
                assert answered() == many
                cpu = cpu_s(service)
                await asyncio.sleep(60)
                used = (cpu_s(service) - cpu) / 60
                each = 1_000 * (rss_mb(service) - before) / many
                said = f"{many} idle TCP sessions: {each:.1f} KB each, {100 * used:.0f} % of a core for their pings"
                record_property("figures", said)
                assert answered() == many

        asyncio.run(story())
