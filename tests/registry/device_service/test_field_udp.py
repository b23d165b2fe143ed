"""The UDP port with many at it: cookies before anything, handshakes beside the loop, sessions that idle and are replaced."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from registry.database import Database
from registry.device_service.field import udp_door as doors
from registry.device_service.field.failures import Failures
from registry.device_service.field.half_open import HalfOpen
from registry.device_service.field.udp_door import UdpDoor
from registry.device_service.pins import RegistryPins
from registry.failures import DatabaseError
from registry.limits.buckets import Rate
from registry.settings import DevicesConfig
from tests.registry.device_service.dtls_client import CERTIFICATE, Client, spki_of
from tests.registry.device_service.field_units import QUICK_UDP, UdpDevice, count, udp_door
from tests.registry.device_service.service_end import Pins, Service, new_key
from tests.registry.living import living
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(60)
Story = Callable[[UdpDoor, int], Awaitable[None]]


@dataclass(slots=True)
class Plant:
    """Pinned devices and a service."""

    service: Service = field(default_factory=Service)
    keys: list[ec.EllipticCurvePrivateKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        for _ in range(12):
            self.keys.append(new_key())
            self.service.pins.known[spki_of(self.keys[-1])] = DeviceId(len(self.keys).to_bytes(12))

    def at(self, port: int, number: int = 1, **changes: Any) -> UdpDevice:
        client = Client(self.keys[number - 1], retransmit_ms=300, **changes)
        return UdpDevice(client, number.to_bytes(12), port)

    def played(self, story: Story, pins: Any = None, **changes: Any) -> None:
        async def run() -> None:
            async with udp_door(self.service.credentials, pins or self.service.pins, **changes) as (door, port):
                await story(door, port)

        asyncio.run(run())


@pytest.fixture
def plant() -> Plant:
    return Plant()


def test_many_devices_at_one_socket_come_in_ping_and_are_counted(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        devices = [plant.at(port, number, kind=CERTIFICATE if number % 3 == 0 else "RAWPK") for number in range(1, 13)]
        assert await asyncio.gather(*(each.greet() for each in devices)) == [True] * 12
        assert (len(door), door.sessions, door.half_open) == (12, 12, 0)
        assert await asyncio.gather(*(each.ping() for each in devices)) == [True] * 12
        assert count(door.metrics, "udp", "done") == 12
        devices[0].client.bye()
        await devices[0].turn()
        assert (len(door), door.sessions) == (11, 11)

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def hello_of(plant: Plant) -> bytes:
    client = Client(plant.keys[0])
    client.step()
    return client.outbox.popleft()


def test_hellos_without_a_cookie_cost_no_state_and_no_signature(plant: Plant) -> None:
    """Spoofed, from a thousand addresses: each is answered with less than it has sent, and nothing is kept."""

    async def story(door: UdpDoor, port: int) -> None:
        hello, sent = hello_of(plant), []
        door._send = lambda addr, datagram: sent.append((addr, datagram))  # type: ignore[method-assign]
        for number in range(1_000):
            door.datagram_received(hello, (f"192.0.2.{number % 250}", number))
            door.datagram_received(os.urandom(300), ("192.0.2.1", number))
            door.datagram_received(hello[:13] + os.urandom(len(hello) - 13), ("192.0.2.2", number))
        assert (len(door), door.half_open, plant.service.signer.asked) == (0, 0, 0)
        assert len(sent) >= 1_000 and all(len(each) <= len(hello) for _, each in sent)

    plant.played(story)


def test_control_a_door_without_cookies_keeps_state_for_anybody(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors.Cookies, "verified", lambda *_: doors.Prestate())

    async def story(door: UdpDoor, _port: int) -> None:
        hello = hello_of(plant)
        for number in range(20):
            door.datagram_received(hello, ("192.0.2.1", 1_000 + number))
        assert len(door) == door.half_open == 20

    plant.played(story)


def test_no_more_handshakes_at_once_than_there_is_room_for(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        stuck = [plant.at(port, number) for number in (1, 2)]
        for each in stuck:  # with the cookie, and then nothing more
            await each.turn()
            await each.turn()
        await asyncio.sleep(0.2)
        assert door.half_open == 2
        assert not await plant.at(port, 3).open(0.6)
        assert count(door.metrics, "udp", "handshakes") >= 1 and len(door) == 2
        for _ in range(100):
            await asyncio.sleep(0.1 if door.half_open else 0)
        assert len(door) == 0, "given up"
        assert count(door.metrics, "udp", "timed-out") == 2
        assert await plant.at(port, 3).greet()

    plant.played(story, handshakes=HalfOpen(2, 2), times=replace(QUICK_UDP, handshake_s=1.5))


def crowded(plant: Plant, monkeypatch: pytest.MonkeyPatch, places: int, **changes: Any) -> tuple[bool, int]:
    """Whether a device comes in while so many addresses hold all that they are let, and how much that is."""
    config, found = DevicesConfig(), []
    room = HalfOpen(config.udp_half_open, config.udp_half_open_of_an_address)
    real = doors.Cookies.verified

    def shown(self: doors.Cookies, name: bytes, hello: bytes) -> Any:
        return doors.Prestate() if b"192.0.2." in name else real(self, name, hello)

    async def story(door: UdpDoor, port: int) -> None:
        hello = hello_of(plant)
        for number in range(1_200):
            door.datagram_received(hello, (f"192.0.2.{1 + number % places}", 1_000 + number))
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        held = door.half_open
        found.append((await plant.at(port, 1).greet(8), held))
        door.close()

    with monkeypatch.context() as patch:
        patch.setattr(doors.Cookies, "verified", shown)
        for name, change in changes.items():
            patch.setattr(HalfOpen, name, change)
        plant.played(story, handshakes=room, most=5_000, times=replace(QUICK_UDP, handshake_s=30, hello_s=30))
    return found[0]


def test_no_address_holds_the_room_and_where_many_do_the_oldest_gives_way(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings that there are by themselves. Control: a room that is first come, first served."""
    assert crowded(plant, monkeypatch, 1) == (True, 100)
    assert crowded(plant, monkeypatch, 40) == (True, 1_000)
    came, held = crowded(plant, monkeypatch, 40, _crowd_out=lambda _: None)
    assert (came, held) == (False, 1_000)


def test_a_newer_session_of_a_device_ends_its_older_one_wherever_it_is(plant: Plant) -> None:
    """So whoever has one device's key has one place, and no more."""

    async def story(door: UdpDoor, port: int) -> None:
        several = [plant.at(port, 1) for _ in range(5)]
        for each in several:
            assert await each.greet()
        await asyncio.sleep(0.1)
        assert (len(door), door.sessions) == (1, 1)
        assert await several[-1].ping() and not await several[0].ping()

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_who_is_no_more_good_is_put_out_at_the_next_look(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        stays, goes = plant.at(port, 1), plant.at(port, 2)
        assert await stays.greet() and await goes.greet()
        await door.open_sessions.look()
        assert door.sessions == 2
        ended = plant.service.pins.known.pop(spki_of(plant.keys[1]))
        await door.open_sessions.look()
        assert (len(door), door.sessions) == (1, 1)
        assert await stays.ping() and not await goes.ping()
        plant.service.pins.known[spki_of(plant.keys[1])] = ended

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_a_database_that_does_not_answer_puts_nobody_out(plant: Plant) -> None:
    class Away(Pins):
        def good(self, spki: bytes) -> DeviceId | None:
            return plant.service.pins.good(spki)

        def keys_of(self, device: DeviceId) -> Any:
            raise DatabaseError("planted")

    async def story(door: UdpDoor, port: int) -> None:
        assert await plant.at(port, 1).greet()
        await door.open_sessions.look()
        assert door.sessions == 1

    plant.played(story, Away(), times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_a_device_that_comes_again_and_again_has_a_bound_and_others_do_not_share_it(plant: Plant) -> None:
    """Each time costs a signature and rows that are kept for a year."""

    async def story(door: UdpDoor, port: int) -> None:
        came = [await plant.at(port, 1).greet(1) for _ in range(5)]
        assert came == [True, True, True, False, False]
        assert count(door.metrics, "udp", "failures of a device") == 2
        assert await plant.at(port, 2).greet()

    plant.played(story, failures=Failures(comes=Rate(0.001, 3)), times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_an_old_session_stands_until_its_device_has_proved_itself_anew(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        first = plant.at(port)
        assert await first.greet()
        here = first.line.getsockname()
        # Somebody at the same address who has no pinned key: the device's session goes on.
        stranger = UdpDevice(Client(new_key(), retransmit_ms=300), bytes(12), port)
        stranger.line.close()
        stranger.line = first.line
        assert not await stranger.open(3) and stranger.client.failed
        assert await first.ping(), "the old session stands"
        again = plant.at(port)
        again.line.close()
        again.line = first.line
        assert await again.greet()
        assert (len(door), door.sessions) == (1, 1)
        assert await again.ping() and not await first.ping(0.5)
        assert first.line.getsockname() == here

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_control_a_door_that_forgets_at_a_hello_lets_anybody_there_end_a_session(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = UdpDoor._begin

    def forgetful(self: UdpDoor, data: bytes, addr: Any, client: Any, state: Any) -> None:
        if client is not None:
            client.open = None
        begin(self, data, addr, client, state)

    monkeypatch.setattr(UdpDoor, "_begin", forgetful)

    async def story(_door: UdpDoor, port: int) -> None:
        first = plant.at(port)
        assert await first.greet()
        stranger = UdpDevice(Client(new_key(), retransmit_ms=300), bytes(12), port)
        stranger.line.close()
        stranger.line = first.line
        assert not await stranger.open(3)
        assert not await first.ping(0.5)

    plant.played(story)


def test_a_hello_that_the_network_repeats_begins_nothing(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        device, seen = plant.at(port), []
        took = door.datagram_received
        door.datagram_received = lambda data, addr: (seen.append((data, addr)), took(data, addr))[1]  # type: ignore[method-assign]
        door._transport._protocol.datagram_received = door.datagram_received  # type: ignore[union-attr]
        assert await device.greet()
        signed = plant.service.signer.asked
        for data, addr in seen:
            took(data, addr)
        await asyncio.sleep(0.2)
        assert (plant.service.signer.asked, door.half_open, len(door)) == (signed, 0, 1)
        assert await device.ping()

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_who_says_no_hello_or_nothing_for_long_is_forgotten(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        mute, quiet, there = plant.at(port, 1), plant.at(port, 2), plant.at(port, 3)
        assert await mute.open() and await quiet.greet() and await there.greet()
        for _ in range(8):
            assert await there.ping()
            await asyncio.sleep(0.4)
        assert (len(door), door.sessions) == (1, 1)
        assert count(door.metrics, "udp", "late") == 1

    plant.played(story)


def test_no_session_lasts_for_ever(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        device = plant.at(port)
        assert await device.greet() and await device.ping()
        for _ in range(4):
            await asyncio.sleep(0.3)
            await device.ping(0.3)
        assert len(door) == 0 and not await device.ping(0.3)

    plant.played(story, times=replace(QUICK_UDP, silence_s=30, longest_s=0.8))


def test_what_the_line_does_not_take_is_not_kept(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        sent: list[bytes] = []
        door._transport = SimpleNamespace(sendto=lambda data, _addr: sent.append(data), close=lambda: None)  # type: ignore[assignment]
        hello = hello_of(plant)
        door.pause_writing()
        door.datagram_received(hello, ("192.0.2.1", 1))
        assert sent == []
        door.resume_writing()
        door.datagram_received(hello, ("192.0.2.1", 1))
        assert len(sent) == 1

    plant.played(story)


def test_a_hello_of_another_device_than_the_key_ends_it(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        device = plant.at(port, 1)
        device.device_id = (2).to_bytes(12)
        assert not await device.greet(2)
        assert (len(door), door.sessions, count(door.metrics, "udp", "odd")) == (0, 0, 1)

    plant.played(story)


def test_failed_handshakes_of_an_address_come_to_an_end_and_good_ones_cost_nothing(plant: Plant) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        for number in range(1, 5):
            assert await plant.at(port, number).greet(), "four good ones, where three failed ones are too many"
        signed = plant.service.signer.asked
        for _ in range(5):
            assert not await UdpDevice(Client(new_key(), retransmit_ms=300), bytes(12), port).open(0.8)
        assert plant.service.signer.asked == signed + 3
        assert count(door.metrics, "udp", "failures of an address") >= 2
        assert count(door.metrics, "udp", "not-pinned") == 3

    plant.played(story, failures=Failures(places=Rate(0.001, 3)), times=replace(QUICK_UDP, silence_s=30, hello_s=30))


def test_a_database_that_hangs_stops_no_session_and_no_cookie(plant: Plant) -> None:
    hangs: list[bool] = []

    class Hanging(Pins):
        def good(self, spki: bytes) -> DeviceId | None:
            if hangs:
                time.sleep(1.0)
                raise TimeoutError("planted")
            return plant.service.pins.good(spki)

    async def story(door: UdpDoor, port: int) -> None:
        there = plant.at(port, 1)
        assert await there.greet()
        hangs.append(True)
        tasks = [asyncio.create_task(plant.at(port, number).open(4)) for number in range(2, 8)]
        await asyncio.sleep(0.4)
        began = time.monotonic()
        assert await there.ping()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.setblocking(False)
            asked.connect(("127.0.0.1", port))
            asked.send(hello_of(plant))
            async with asyncio.timeout(0.5):
                assert await asyncio.get_running_loop().sock_recv(asked, 4096)
        assert time.monotonic() - began < 0.5
        assert not any(await asyncio.gather(*tasks))
        assert count(door.metrics, "udp", "fault") >= 1
        hangs.clear()
        assert await plant.at(port, 9).greet() and await there.ping()

    plant.played(story, Hanging(), times=replace(QUICK_UDP, silence_s=30, hello_s=30, handshake_s=6))


def test_in_the_field_a_provisional_pin_is_none(plant: Plant, database: Database) -> None:
    site = living(database)
    active, provisional = new_key(), new_key()
    pins = RegistryPins(database, site.made.trusted, now=lambda: site.now)
    devices = {
        key: site.device(active=key is active, key=key) for key in (active, provisional)
    }  # fmt: skip

    async def story(door: UdpDoor, port: int) -> None:
        found = {}
        for key, device in devices.items():
            unit = UdpDevice(Client(key, retransmit_ms=300), device.device_id.raw, port)
            found[key] = await unit.greet(3)
        assert found == {active: True, provisional: False}
        assert count(door.metrics, "udp", "not-pinned") == 1

    plant.played(story, pins)
