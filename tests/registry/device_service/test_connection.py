"""TCP connections over real sockets: what a device gets, what a stranger gets, and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from registry.device_service.tcp.connection import Connection, Ended, Service, Times
from registry.device_service.tcp.handshake import Accepted, Handshake
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import Rsa, seeded
from tests.registry.device_service.test_conversation import hello, message, ping
from tests.registry.device_service.test_tcp import ID, Keys, Pins
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(60)
QUICK = Times(message_2_s=1.0, refused_s=0.4, hello_s=1.0, silence_s=1.0)


@pytest.fixture(scope="module")
def rsa_keys() -> dict[str, Rsa]:
    return {"cloud": seeded("cloud", 2048), "own": seeded("large", 2048)}


@dataclass(slots=True)
class Slow(Keys):
    """Opens after so many seconds, and never less."""

    seconds: float = 0.0

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        time.sleep(self.seconds)
        return Keys.tcp_open(self, ciphertext, nonce)


@dataclass(slots=True)
class Plant:
    """A service that listens, and what it has told of its connections."""

    keys: Slow
    pins: Pins
    device: Callable[[], OracleDevice]
    port: int = 0
    opened: list[Accepted] = field(default_factory=list)
    ends: asyncio.Queue[Ended] = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)  # one that is forgotten is closed

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=line)
        self.writers.append(writer)
        return reader, writer, await reader.readexactly(40)

    async def until(self, *whys: Ended) -> None:
        """The next connections that end, end for these reasons."""
        async with asyncio.timeout(5):
            assert [await self.ends.get() for _ in whys] == list(whys)


@asynccontextmanager
async def serving(
    rsa_keys: dict[str, Rsa], times: Times = QUICK, made: type[Connection] = Connection
) -> AsyncIterator[Plant]:
    own, cloud = rsa_keys["own"], rsa_keys["cloud"]
    plant = Plant(Slow(cloud), Pins({DeviceId(ID): own.spki}), lambda: OracleDevice(own, cloud, ID))
    with ThreadPoolExecutor(2) as work:
        service = Service(
            keys=plant.keys, pins=plant.pins, work=work, times=times, opened=plant.opened.append,
            ended=plant.ends.put_nowait,
        )  # fmt: skip
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server = await asyncio.get_running_loop().create_server(lambda: made(service), sock=listening)
        plant.port = server.sockets[0].getsockname()[1]
        async with server:
            yield plant


def played(rsa_keys: dict[str, Rsa], story: Callable[[Plant], Awaitable[None]], times: Times = QUICK) -> None:
    async def run() -> None:
        async with serving(rsa_keys, times) as plant:
            await story(plant)

    asyncio.run(run())


async def gone(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the connection ends, however it ends."""
    came = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            came += data
    return came


async def frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    return head + await reader.readexactly(int.from_bytes(head))


async def into_session(plant: Plant) -> tuple[OracleDevice, asyncio.StreamReader, asyncio.StreamWriter]:
    device = plant.device()
    reader, writer, nonce = await plant.connect()
    writer.write(device.message_2(nonce))
    device.read_3(await reader.readexactly(512))
    return device, reader, writer


def test_a_device_comes_in_says_hello_and_pings(rsa_keys: dict[str, Rsa]) -> None:
    async def story(plant: Plant) -> None:
        device, reader, writer = await into_session(plant)
        assert not plant.opened, "nothing is proved yet"
        writer.write(device.seal(hello(device.first_id)))
        assert device.open(await frame(reader))[:2] == b"\x50\x02"
        assert [each.device_id for each in plant.opened] == [DeviceId(ID)]
        sent = device.seal(ping(device.first_id + 1))
        writer.write(sent[:7])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(sent[7:])
        assert device.open(await frame(reader)) == message(2, 0, device.first_id + 1)
        writer.write(device.seal(message(0, 3, device.first_id + 2, b"\xb1k\xff\x01")))
        assert device.open(await frame(reader)) == message(2, 68, device.first_id + 2)
        assert await reader.read() == b""
        await plant.until(Ended.KEY_CHANGE)

    played(rsa_keys, story)


def test_a_replayed_message_ends_the_session_at_once_and_without_a_byte(rsa_keys: dict[str, Rsa]) -> None:
    async def story(plant: Plant) -> None:
        device, reader, writer = await into_session(plant)
        writer.write(device.seal(hello(device.first_id)))
        await frame(reader)
        writer.write(device.seal(ping(device.first_id + 1)) + device.seal(ping(device.first_id + 1)))
        began = time.monotonic()
        assert await gone(reader) == b"", "not even to the first of both, which came with the other"
        assert time.monotonic() - began < 0.5
        await plant.until(Ended.ODD)

    played(rsa_keys, story)


STRANGERS: dict[str, Callable[[OracleDevice, bytes], bytes]] = {
    "random bytes": lambda _device, _nonce: b"\x00" + os.urandom(255),
    "another nonce": lambda device, _: device.message_2(bytes(40)),
    "an unknown device": lambda device, nonce: OracleDevice(device.own, device.cloud, b"\x01" * 12).message_2(nonce),
    "more than message 2": lambda device, nonce: device.message_2(nonce) + b"x",
}


async def refused_after(plant: Plant, stranger: Callable[[OracleDevice, bytes], bytes]) -> float:
    """Seconds from message 2 to the end; nothing comes before it."""
    reader, writer, nonce = await plant.connect()
    sent = stranger(plant.device(), nonce)
    began = time.monotonic()
    writer.write(sent)
    assert await reader.read() == b""
    seconds = time.monotonic() - began
    writer.close()
    return seconds


@pytest.mark.parametrize("slow", [0.0, 0.2, 0.8], ids=["a quick signer", "a slow one", "one that is too late"])
def test_all_that_are_refused_end_at_the_same_time_without_a_byte(rsa_keys: dict[str, Rsa], slow: float) -> None:
    async def story(plant: Plant) -> None:
        plant.keys.seconds = slow
        for stranger in STRANGERS.values():
            assert 0.39 < await refused_after(plant, stranger) < 0.8
        if slow > QUICK.refused_s:
            assert 0.39 < await refused_after(plant, lambda device, nonce: device.message_2(nonce)) < 0.8
        assert not plant.opened

    played(rsa_keys, story)


def test_who_says_nothing_or_too_little_is_not_waited_for(rsa_keys: dict[str, Rsa]) -> None:
    async def story(plant: Plant) -> None:
        quiet, _, _ = await plant.connect()
        slow, writer, _ = await plant.connect()
        writer.write(bytes(255))
        assert await gone(quiet) == await gone(slow) == b""
        await plant.until(Ended.LATE, Ended.LATE)
        _, reader, _ = await into_session(plant)
        assert await gone(reader) == b"", "no Hello"
        device, reader, writer = await into_session(plant)
        writer.write(device.seal(hello(device.first_id)))
        await frame(reader)
        assert await gone(reader) == b"", "silence"
        await plant.until(Ended.LATE, Ended.LATE)

    played(rsa_keys, story)


def test_a_device_that_asks_and_never_reads_loses_its_connection(rsa_keys: dict[str, Rsa]) -> None:
    async def story(plant: Plant) -> None:
        device, reader, writer = await into_session(plant)
        writer.write(device.seal(hello(device.first_id)))
        await frame(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        number = device.first_id
        with contextlib.suppress(ConnectionError):
            while plant.ends.empty():
                number = (number + 1) % 65_536
                writer.write(device.seal(ping(number)))
                await writer.drain()
        await plant.until(Ended.ODD)

    played(rsa_keys, story, Times(silence_s=30.0))


class Hasty(Connection):
    """Planted: a wrong padding ends it at once."""

    def _judged(self, done: object) -> None:
        if done.exception() is not None:  # type: ignore[attr-defined]
            self._end(Ended.REFUSED)
        else:
            super()._judged(done)  # type: ignore[arg-type]


def times_of(rsa_keys: dict[str, Rsa], made: type[Connection], rounds: int) -> dict[str, list[float]]:
    """Of messages with a right padding and with a wrong one, in turn. The signer takes longer for the right ones."""
    found: dict[str, list[float]] = {"right": [], "wrong": []}

    async def run() -> None:
        async with serving(rsa_keys, Times(refused_s=0.15), made) as plant:
            for _ in range(rounds):
                pairs = (("right", STRANGERS["another nonce"]), ("wrong", STRANGERS["random bytes"]))
                took = await asyncio.gather(*[refused_after(plant, each) for _, each in pairs])
                for (name, _), seconds in zip(pairs, took, strict=True):
                    found[name].append(seconds)

    asyncio.run(run())
    return found


def test_control_one_that_ends_at_once_is_told_apart(rsa_keys: dict[str, Rsa]) -> None:
    """And the service is not: what is compared is when it ends after message 2."""
    hasty = times_of(rsa_keys, Hasty, 8)
    assert max(hasty["wrong"]) < 0.15
    real = times_of(rsa_keys, Connection, 8)
    apart = statistics.median(real["right"]) - statistics.median(real["wrong"])
    assert abs(apart) < 0.03, real


def test_the_handshake_is_begun_anew_for_each(rsa_keys: dict[str, Rsa]) -> None:
    async def story(plant: Plant) -> None:
        nonces = set()
        for _ in range(20):
            _, writer, nonce = await plant.connect()
            nonces.add(nonce)
            writer.close()
        assert len(nonces) == 20

    played(rsa_keys, story)
    assert len(Handshake.begin(Keys(rsa_keys["cloud"]), Pins()).nonce) == 40
