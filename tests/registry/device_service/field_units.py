"""Devices that connect to public ports over real sockets, and doors in this process. Holds no assertion."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from registry.device_service.field.failures import Failures
from registry.device_service.field.half_open import HalfOpen
from registry.device_service.field.tcp_door import TcpDoor
from registry.device_service.field.udp_door import UdpDoor, UdpTimes
from registry.device_service.tcp.connection import Times
from registry.telemetry.devices import DeviceMetrics
from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.relayed import HELLO
from tests.registry.device_service.test_conversation import hello, message, ping

QUICK = Times(message_2_s=1.5, refused_s=0.3, hello_s=1.5, silence_s=3.0)
QUICK_UDP = UdpTimes(handshake_s=4.0, hello_s=1.0, silence_s=2.0, cookie_s=60.0, look_s=0.2)


def count(metrics: DeviceMetrics, protocol: str, result: str) -> float:
    """Handshakes in the field that ended so, or those that a limit has turned away."""
    for family in metrics._all.collect():
        for sample in family.samples:
            words = sample.labels.get("result"), sample.labels.get("limit")
            if sample.name.endswith("_total") and sample.labels.get("protocol") == protocol and result in words:
                return sample.value
    return 0


@asynccontextmanager
async def tcp_door(keys: Any, pins: Any, *, threads: int = 4, **changes: Any) -> AsyncIterator[tuple[TcpDoor, int]]:
    """A port of this machine."""
    given = {
        "failures": Failures(), "metrics": DeviceMetrics(version="1", environment="demo"), "most": 1_000,
        "of_an_address": 1_000, "times": QUICK, **changes,
    }  # fmt: skip
    with ThreadPoolExecutor(threads) as work:
        door = TcpDoor(keys=keys, pins=pins, work=work, **given)
        server = await asyncio.get_running_loop().create_server(door.knock, "127.0.0.1", 0, backlog=1_024)
        async with server:
            yield door, server.sockets[0].getsockname()[1]
            door.close()
            await asyncio.sleep(0)


@asynccontextmanager
async def udp_door(credentials: Any, pins: Any, **changes: Any) -> AsyncIterator[tuple[UdpDoor, int]]:
    """A port of this machine."""
    given = {
        "failures": Failures(), "metrics": DeviceMetrics(version="1", environment="demo"), "most": 1_000,
        "handshakes": HalfOpen(100, 100), "repeated": lambda _: "", "times": QUICK_UDP, **changes,
    }  # fmt: skip
    with ThreadPoolExecutor(4) as work:
        door = UdpDoor(credentials=credentials, pins=pins, work=work, **given)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: door, local_addr=("127.0.0.1", 0))
        try:
            yield door, transport.get_extra_info("sockname")[1]
        finally:
            door.close()
            transport.close()


@dataclass
class TcpDevice:
    """One connection. `greeted` once the service has said its Hello."""

    device: OracleDevice
    port: int
    reader: Any = None
    writer: Any = None
    number: int = 0

    async def connect(self) -> bytes:
        """The nonce; empty if the connection is dropped."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return await self.reader.readexactly(40)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def greet(self) -> bool:
        nonce = await self.connect()
        if not nonce:
            return False
        self.writer.write(self.device.message_2(nonce))
        try:
            self.device.read_3(await self.reader.readexactly(self.device.own.size + 256))
            self.number = self.device.first_id
            self.writer.write(self.device.seal(hello(self.number)))
            self.device.open(await self._frame())
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    async def ping(self) -> bool:
        self.number = (self.number + 1) % 65_536
        self.writer.write(self.device.seal(ping(self.number)))
        return self.device.open(await self._frame()) == message(2, 0, self.number)

    async def _frame(self) -> bytes:
        head = await self.reader.readexactly(2)
        return head + await self.reader.readexactly(int.from_bytes(head))

    async def rest(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


@dataclass
class UdpDevice:
    """One socket with a DTLS client behind it."""

    client: Client
    device_id: bytes
    port: int
    line: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    heard: list[bytes] = field(default_factory=list)
    number: int = 100

    def __post_init__(self) -> None:
        self.line.setblocking(False)
        self.line.connect(("127.0.0.1", self.port))

    async def turn(self, within_s: float = 0.05) -> None:
        """Send what there is, wait for a datagram, step."""
        self.heard += self.client.step()
        while self.client.outbox:
            self.line.send(self.client.outbox.popleft())
        await self._readable(within_s)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.client.inbox.append(self.line.recv(4096))
        self.heard += self.client.step()

    async def _readable(self, within_s: float) -> None:
        """A datagram is there, or the time is over: a `sock_recv` that is cancelled may lose one."""
        loop, there = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.line, there.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await there.wait()
        finally:
            loop.remove_reader(self.line)

    async def open(self, within_s: float = 5) -> bool:
        """Whether the handshake was done."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self.client.done and not self.client.failed:
                    await self.turn()
        await self.turn(0.001)
        return self.client.done and not self.client.failed

    async def greet(self, within_s: float = 5) -> bool:
        if not await self.open(within_s):
            return False
        self.client.send(message(0, 2, 77, b"\xb1h\xff" + HELLO[:9] + bytes([12]) + self.device_id))
        return await self.hears(2, within_s)

    async def ping(self, within_s: float = 2) -> bool:
        self.number += 1
        self.client.send(message(0, 0, self.number))
        before = len(self.heard)
        return await self.hears(before + 1, within_s) and self.heard[-1] == message(2, 0, self.number)

    async def hears(self, many: int, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self.heard) < many and not self.client.failed:
                    await self.turn()
        return len(self.heard) >= many

    def close(self) -> None:
        self.line.close()
