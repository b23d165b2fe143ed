"""The TCP port with many at it: sessions that idle, strangers that say little or the wrong thing, and what each may cost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from hsm.signer import SignerError, SignerUnavailableError
from registry.device_service.field.failures import Failures
from registry.device_service.field.tcp_door import TcpDoor
from registry.device_service.tcp.connection import Times
from registry.limits.buckets import Rate
from tests.registry.device_service.field_units import TcpDevice, count, tcp_door
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import Rsa, seeded
from tests.registry.device_service.test_tcp import Keys, Pins
from trust.codes import Code
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(60)
CLOUD, OWN = seeded("cloud", 2048), seeded("large", 2048)
SPKI, CLOUD_KEY = OWN.spki, CLOUD.key  # a key is long in the making
Story = Callable[[TcpDoor, int], Awaitable[None]]


def test_no_session_lasts_for_ever() -> None:
    async def story(door: TcpDoor, port: int) -> None:
        device = at(port)
        assert await device.greet() and await device.ping()
        await asyncio.sleep(0.6)
        assert await device.ping(), "it is answered once more"
        assert await device.rest() == b""
        assert door.open == 0

    played(story, times=Times(refused_s=5.0, silence_s=20.0, longest_s=0.5))


@dataclass(slots=True)
class Quick(Keys):
    """Counts what it is asked for."""

    opened: int = 0

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        self.opened += 1
        return Keys.tcp_open(self, ciphertext, nonce)

    def tcp_sign(self, mac: bytes) -> bytes:
        self.signed += 1
        return CLOUD_KEY.sign(mac, padding.PKCS1v15(), NoDigestInfo())


def device_id(number: int) -> bytes:
    return number.to_bytes(12, "big")


def pins(many: int = 50) -> Pins:
    return Pins({DeviceId(device_id(number)): SPKI for number in range(1, many)})


def at(port: int, number: int = 1, own: Rsa = OWN) -> TcpDevice:
    return TcpDevice(OracleDevice(own, CLOUD, device_id(number)), port)


def played(story: Story, keys: Any = None, known: Any = None, **changes: Any) -> None:
    async def run() -> None:
        async with tcp_door(keys or Quick(CLOUD), known or pins(), **changes) as (door, port):
            await story(door, port)

    asyncio.run(run())


def test_devices_come_in_idle_ping_and_are_counted() -> None:
    async def story(door: TcpDoor, port: int) -> None:
        devices = [at(port, number) for number in range(1, 21)]
        assert await asyncio.gather(*(each.greet() for each in devices)) == [True] * 20
        assert (door.open, door.sessions) == (20, 20)
        await asyncio.sleep(0.3)
        assert await asyncio.gather(*(each.ping() for each in devices)) == [True] * 20
        assert count(door.metrics, "tcp", "done") == 20
        for each in devices:
            each.writer.close()
        await asyncio.sleep(0.1)
        assert (door.open, door.sessions, door.places, door.lines) == (0, 0, {}, set())

    played(story, times=Times(refused_s=5.0))


def test_one_session_a_device_the_newest_and_none_when_its_key_is_good_no_more() -> None:
    known = pins()

    async def story(door: TcpDoor, port: int) -> None:
        several, other = [at(port, 1) for _ in range(4)], at(port, 2)
        for each in (*several, other):
            assert await each.greet()
        await asyncio.sleep(0.1)
        assert (door.open, door.sessions) == (2, 2)
        assert await several[-1].ping() and await other.ping()
        await door.open_sessions.look()
        assert (door.open, door.sessions) == (2, 2)
        known.known.pop(DeviceId(device_id(1)))
        await door.open_sessions.look()
        await asyncio.sleep(0.1)
        assert (door.open, door.sessions) == (1, 1)
        assert await other.ping()

    played(story, known=known, times=Times(refused_s=5.0))


def test_message_3_leaves_on_the_beat_however_long_the_signer_took() -> None:
    """Control: without a beat it tells how long that was."""

    class Uneven(Quick):
        def tcp_sign(self, mac: bytes) -> bytes:
            time.sleep(0.03 * (self.signed % 3))
            return super().tcp_sign(mac)

    def took(beat_s: float) -> list[float]:
        found: list[float] = []

        async def story(_door: TcpDoor, port: int) -> None:
            for number in range(1, 7):
                device = at(port, number)
                nonce = await device.connect()
                began = time.monotonic()
                device.writer.write(device.device.message_2(nonce))
                await device.reader.readexactly(512)
                found.append(time.monotonic() - began)

        played(story, Uneven(CLOUD), times=Times(refused_s=5.0, beat_s=beat_s))
        return found

    on_the_beat = took(0.4)
    assert min(on_the_beat) >= 0.399 and max(on_the_beat) < 0.6
    at_once = took(0.0)
    assert min(at_once) < 0.1 and max(at_once) - min(at_once) > 0.04


def test_a_connection_too_many_gets_no_nonce_and_the_rest_go_on() -> None:
    async def story(limit: str, door: TcpDoor, port: int) -> None:
        devices = [at(port, number) for number in range(1, 5)]
        assert [await each.greet() for each in devices] == [True, True, True, False]
        assert count(door.metrics, "tcp", limit) == 1
        devices[0].writer.close()
        await asyncio.sleep(0.05)
        assert await at(port, 4).greet() and await devices[1].ping()

    for limit, changes in (("connections", {"most": 3}), ("connections of an address", {"of_an_address": 3})):
        played(partial(story, limit), times=Times(refused_s=5.0), **changes)


def test_who_says_nothing_or_drips_is_not_waited_for() -> None:
    """Slow-loris: a byte now and then renews no clock, before message 2 and behind it."""

    async def story(door: TcpDoor, port: int) -> None:
        quiet = [at(port) for _ in range(30)]
        began = time.monotonic()
        for each in quiet:
            assert await each.connect()
        while door.open and time.monotonic() - began < 5:
            for each in quiet[:15]:
                each.writer.write(b"x")
            await asyncio.sleep(0.05)
        assert door.open == 0 and time.monotonic() - began < 3
        assert count(door.metrics, "tcp", "late") == 30

    played(story)


def test_failed_handshakes_of_an_address_come_to_an_end_and_good_ones_cost_nothing() -> None:
    keys = Quick(CLOUD)

    async def story(door: TcpDoor, port: int) -> None:
        good = [at(port, number) for number in range(1, 16)]
        for each in good:
            assert await each.greet(), "fifteen good ones, where ten failed ones are too many"
        for _ in range(12):
            stranger = at(port)
            if await stranger.connect():
                stranger.writer.write(b"\x01" * 256)
                await stranger.rest()
        assert keys.opened == 15 + 10
        assert count(door.metrics, "tcp", "failures of an address") == 2
        assert await good[0].ping()

    failures = Failures(places=Rate(0.001, 10))
    played(story, keys, failures=failures, times=Times(refused_s=0.3, silence_s=20.0))


def test_a_device_that_is_tried_in_vain_is_not_signed_for_and_others_are() -> None:
    """Who knows an id and its public key costs two signatures, and no more; the device itself is known where it was."""
    keys = Quick(CLOUD)

    async def story(door: TcpDoor, port: int) -> None:
        own = at(port, 7)
        assert await own.greet()
        signed = keys.signed
        for _ in range(4):
            stranger = at(port, 8)
            nonce = await stranger.connect()
            stranger.writer.write(stranger.device.message_2(nonce))
            await asyncio.sleep(0.1)
            stranger.writer.close()
        await asyncio.sleep(0.2)
        assert keys.signed - signed == 2
        assert count(door.metrics, "tcp", "failures of a device") == 2
        assert await at(port, 9).greet() and await at(port, 7).greet()

    played(story, keys, failures=Failures(devices=Rate(0.001, 2)), times=Times(refused_s=0.5, silence_s=20.0))


def test_what_strangers_elsewhere_use_up_of_a_device_keeps_it_out_nowhere_where_it_was() -> None:
    failures, device = Failures(devices=Rate(0.001, 5), anywhere=Rate(0.001, 3)), DeviceId(device_id(1))
    assert failures.names("192.0.2.1", device)
    failures.proved("192.0.2.1", device)
    assert [failures.names(f"198.51.100.{each}", device) for each in range(6)] == [True] * 3 + [False] * 3
    assert failures.names("192.0.2.1", device)
    assert not failures.names("203.0.113.1", device), "control: from a new place it is kept out"


def test_why_each_was_refused_is_counted_and_all_end_alike() -> None:
    class Away(Quick):
        def tcp_sign(self, mac: bytes) -> bytes:
            raise SignerUnavailableError("planted")

    async def ends(port: int, device: TcpDevice) -> float:
        nonce = await device.connect()
        device.writer.write(device.device.message_2(nonce))
        began = time.monotonic()
        assert await device.rest() == b""
        return time.monotonic() - began

    async def story(door: TcpDoor, port: int) -> None:
        other = at(port, 2)
        other.device.spki = bytes(162)
        found = [await ends(port, each) for each in (at(port, 999), other, at(port, 3))]
        assert all(0.28 < each < 0.6 for each in found), found
        assert [count(door.metrics, "tcp", why) for why in ("not-pinned", "other-key", "not-signed")] == [1, 1, 1]

    played(story, Away(CLOUD))


def test_a_flood_asks_the_signer_for_a_few_things_at_a_time_and_leaves_nothing_behind() -> None:
    """It signs receipts, too: whatever strangers send, at most so many of their messages are before it at once."""
    at_once: list[int] = []
    now = threading.Semaphore(0)

    class Slow(Quick):
        def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
            now.release()
            at_once.append(now._value)
            time.sleep(0.02)
            now.acquire()
            raise SignerError(Code.HANDSHAKE_REFUSED, "no")

    async def stranger(port: int) -> None:
        device = at(port)
        if await device.connect():
            device.writer.write(b"\x01" * 256)
            await device.rest()

    async def story(door: TcpDoor, port: int) -> None:
        await asyncio.gather(*(stranger(port) for _ in range(100)))
        asked = len(at_once)
        assert max(at_once) <= 3 and 10 < asked < 100, "who is no longer there is not asked about"
        await asyncio.sleep(0.3)
        assert len(at_once) <= asked + 3 and door.open == 0

    played(story, Slow(CLOUD), threads=3, times=Times(refused_s=0.4))


def test_a_database_that_hangs_stops_no_session_and_no_nonce() -> None:
    hangs = []

    class Hanging(Pins):
        def keys_of(self, device: DeviceId) -> Sequence[bytes]:
            if hangs:
                time.sleep(1.0)
                raise TimeoutError("planted")
            return Pins.keys_of(self, device)

    async def story(door: TcpDoor, port: int) -> None:
        open_one = at(port)
        assert await open_one.greet()
        hangs.append(True)
        waiting = [at(port, number) for number in range(2, 12)]
        tasks = [asyncio.create_task(each.greet()) for each in waiting]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await open_one.ping() and await at(port).connect()
        assert time.monotonic() - began < 0.3
        assert await asyncio.gather(*tasks) == [False] * 10
        hangs.clear()
        await asyncio.sleep(1.1)
        assert await at(port, 2).greet()
        assert await open_one.ping()

    played(story, known=Hanging(pins().known), threads=3, times=Times(refused_s=0.4, silence_s=20.0))
