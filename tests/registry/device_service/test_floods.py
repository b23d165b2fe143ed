"""A device service under strangers: it stays up, does not grow without bound, and devices go on coming in.

Against the processes as they are run. A slice in each run, the whole in `make soak`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.registry.device_service.crowd import Fleet, tcp_device, udp_device
from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.service_end import new_key
from tests.registry.device_service.test_capacity import (
    at_the_registry,
    child_of,
    fleet_of,
    made_fleet,
    rss_mb,
    running,
    site,
)
from tests.registry.device_service.test_devices_real import Site

__all__ = ["site"]
Record = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Doors:
    """The ports, and an honest device for each."""

    tcp: int
    udp: int
    fleets: dict[str, Fleet]

    async def take_devices(self) -> bool:
        """Whether one comes in at either port, from an address of its own."""
        tcp, udp = tcp_device(self.fleets["tcp"], 0, self.tcp), udp_device(self.fleets["udp"], 0, self.udp)
        async with asyncio.timeout(20):
            greeted = await tcp.greet(), await udp.greet(15)
        if tcp.writer is not None:
            tcp.writer.transport.abort()
        udp.close()
        return greeted == (True, True)


def strangers_address(number: int) -> str:
    """One of many that this machine has: a limit of one address is not what is tried here."""
    return f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"


def line_from(number: int, kind: socket.SocketKind) -> socket.socket:
    line = socket.socket(socket.AF_INET, kind)
    line.setblocking(False)
    line.bind((strangers_address(number), 0))
    return line


@asynccontextmanager
async def silent_connections(doors: Doors, many: int) -> AsyncIterator[None]:
    """Connections from everywhere whose device says nothing, or a byte now and then."""
    lines: list[socket.socket] = []
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        line = line_from(number, socket.SOCK_STREAM)
        lines.append(line)
        with contextlib.suppress(OSError):
            await loop.sock_connect(line, ("127.0.0.1", doors.tcp))
            for _ in range(number % 3):
                await asyncio.sleep(2)
                await loop.sock_sendall(line, b"\0")

    gate = asyncio.Semaphore(200)

    async def bounded(number: int) -> None:
        async with gate:
            await one(number)

    knocking = [asyncio.create_task(bounded(number)) for number in range(many)]
    await asyncio.wait(knocking, timeout=60)
    try:
        yield
    finally:
        for each in knocking:
            each.cancel()
        for line in lines:
            line.close()


@asynccontextmanager
async def meanwhile(flood: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It does not end when the devices come."""
    task = asyncio.create_task(flood)
    try:
        yield
        assert not task.done(), "nothing would be tried here"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def first_hello() -> bytes:
    client = Client(new_key())
    client.step()
    return client.outbox.popleft()


@asynccontextmanager
async def hellos_without_cookie(doors: Doors, many: int) -> AsyncIterator[None]:
    """From everywhere; nobody there reads what is answered."""
    hello, dice = first_hello(), random.Random(1)
    lines = [line_from(number, socket.SOCK_DGRAM) for number in range(200)]

    def one(number: int) -> None:
        changed = hello[:27] + dice.randbytes(32) + hello[59:]  # another client's random value
        with contextlib.suppress(BlockingIOError):
            lines[number % len(lines)].sendto(changed, ("127.0.0.1", doors.udp))

    async def going_on() -> None:
        for number in itertools.count():
            one(number)
            await asyncio.sleep(0.001)

    for number in range(many):
        one(number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    async with meanwhile(going_on()):
        yield
    for line in lines:
        line.close()


@asynccontextmanager
async def begun_and_left(doors: Doors, many: int) -> AsyncIterator[None]:
    """Handshakes that bring their cookie, cost the service its signature, and then say nothing more."""
    units = []
    gate = asyncio.Semaphore(50)

    async def one(number: int) -> None:
        unit = udp_device(doors.fleets["udp"], 1, doors.udp)
        unit.line.close()
        unit.line = line_from(number, socket.SOCK_DGRAM)
        unit.line.connect(("127.0.0.1", doors.udp))
        units.append(unit)
        async with gate:
            await unit.turn(1.0)
            await unit.turn(1.0)

    async def going_on() -> None:
        for number in itertools.count(many):
            await one(number % 60_000)

    await asyncio.gather(*(one(number) for number in range(many)))
    async with meanwhile(going_on()):
        yield
    for each in units:
        each.close()


Flood = Callable[[Doors, int], contextlib.AbstractAsyncContextManager[None]]
FLOODS: dict[str, tuple[Flood, int, int]] = {
    "silent connections": (silent_connections, 300, 20_000),
    "hellos without a cookie": (hellos_without_cookie, 2_000, 300_000),
    "handshakes begun and left": (begun_and_left, 60, 3_000),
}
"""What strangers do; how often in a slice, and in the whole."""


async def flooded(doors: Doors, flood: Flood, many: int, memory: Callable[[], float]) -> tuple[float, float]:
    """Megabytes before and at the height of it; devices come in before, meanwhile and afterwards."""
    assert await doors.take_devices()
    before = memory()
    async with flood(doors, many):
        assert await doors.take_devices(), "meanwhile"
        height = memory()
    assert await doors.take_devices(), "afterwards"
    return before, height


def play(site: Site, story: Callable[[Doors, Callable[[], float]], Awaitable[None]]) -> None:
    with running(site) as (line, ports):
        fleets = {}
        for protocol in ("tcp", "udp"):
            devices = made_fleet(protocol, 2)
            asyncio.run(at_the_registry(site, line, protocol, devices))
            fleets[protocol] = fleet_of(site, protocol, devices)
        service = child_of("registry devices")
        doors = Doors(int(ports["tcp"]), int(ports["udp"]), fleets)
        asyncio.run(story(doors, lambda: rss_mb(service)))


@pytest.mark.timeout(120)
def test_a_slice(site: Site) -> None:
    async def story(doors: Doors, memory: Callable[[], float]) -> None:
        for flood, many, _ in FLOODS.values():
            before, height = await flooded(doors, flood, many, memory)
            assert height - before < 30

    play(site, story)


@pytest.mark.soak
def test_all_of_it(site: Site, record_property: Record) -> None:
    async def story(doors: Doors, memory: Callable[[], float]) -> None:
        for name, (flood, _, many) in FLOODS.items():
            before, height = await flooded(doors, flood, many, memory)
            record_property("figures", f"{many} {name}: {before:.0f} MB before, {height:.0f} MB meanwhile")
            assert height - before < 400, name
        before, height = await flooded(doors, FLOODS["hellos without a cookie"][0], 300_000, memory)
        record_property("figures", f"the hellos once more: {before:.0f} MB before, {height:.0f} MB meanwhile")
        assert height - before < 10, "nothing is kept of a hello"

    play(site, story)


def test_addresses_are_all_different() -> None:
    assert len({strangers_address(number) for number in range(100_000)}) == 100_000
