"""Wrong pins in the field, over TCP: each refused without a byte and counted by its word, and nothing stays half open.

docs/threats.md, "Wrong pins, every way round", has a row for each; all against the registry's own pins.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fixtures.families.smp.emulated.flash import Flash
from fixtures.families.smp.emulated.tcp_client import NOT_TRUSTED, TcpClient
from registry.database import Database
from registry.device_service.field import tcp_door as doors
from registry.device_service.field.tcp_door import TcpDoor
from registry.device_service.pins import RegistryPins
from registry.device_service.tcp.numbers import FromDevice
from tests.registry.device_service.field_units import QUICK, TcpDevice, count, tcp_door
from tests.registry.device_service.flashed import (
    CLOSED,
    IN,
    failed,
    flash_of,
    nothing_half_open,
    tcp_comes,
    with_a_bit_flipped,
)
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import seeded
from tests.registry.device_service.test_conversation import hello, ping
from tests.registry.device_service.test_field_tcp import Quick
from tests.registry.living import Living, living
from tests.registry.make import Device
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(60)
TIMES = replace(QUICK, refused_s=1.0)
CLOUD, OWN, OTHER = seeded("cloud", 2048), seeded("large", 2048), seeded("other", 2048)


@dataclass(slots=True)
class Site:
    """A registry with one finished device, whose key is `OWN`."""

    living: Living
    device: Device

    def flash(self, **changes: Any) -> Flash:
        return flash_of(self.device, CLOUD.spki, 0, **changes)

    def played(self, story: Callable[[TcpDoor, int], Awaitable[None]], keys: Any = None) -> None:
        pins = RegistryPins(self.living.database, self.living.made.trusted, now=lambda: self.living.now)

        async def run() -> None:
            pins.keys_of(self.device.device_id)  # verified once, which takes longest
            async with tcp_door(keys or Quick(CLOUD), pins, times=TIMES) as (door, port):
                await story(door, port)

        asyncio.run(run())

    def line(self, port: int) -> TcpDevice:
        return TcpDevice(OracleDevice(OWN, CLOUD, self.device.device_id.raw), port)


@pytest.fixture
def site(database: Database) -> Site:
    lives = living(database, key_type="rsa-2048")
    return Site(lives, lives.device(key=OWN.key))


def revoked(site: Site) -> Flash:
    site.living.acts.do(site.device.device_id, "revoke", site.living.act(site.device, "revoke"))
    return site.flash()


def provisional(site: Site) -> Flash:
    site.device = site.living.device(active=False, key=OTHER.key)
    return site.flash()


def repinned(site: Site) -> Flash:
    site.living.repinned(site.device, OTHER.key)
    return site.flash()


CASES: dict[str, tuple[Callable[[Site], Flash], str, str]] = {
    "cloud key with one bit flipped": (lambda site: with_a_bit_flipped(site.flash()), CLOSED, "not-opened"),
    "another device's key": (lambda site: site.flash(key=OTHER.key), failed(NOT_TRUSTED), "left"),
    "re-pinned, with its old key": (repinned, failed(NOT_TRUSTED), "left"),
    "revoked": (revoked, CLOSED, "not-pinned"),
    "provisional": (provisional, CLOSED, "not-pinned"),
}
"""What is in a device's flash, how its coming in ends for it, and as what it is counted."""


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_pin_is_refused(site: Site, case: str) -> None:
    make, ends, word = CASES[case]
    flash = make(site)

    async def story(door: TcpDoor, port: int) -> None:
        assert await tcp_comes(TcpClient(flash), port) == ends
        await nothing_half_open(door)
        assert (count(door.metrics, "tcp", word), count(door.metrics, "tcp", "done")) == (1, 0)

    site.played(story)


def test_control_with_nothing_wrong_it_comes_in_and_leaves_nothing_behind(site: Site) -> None:
    async def story(door: TcpDoor, port: int) -> None:
        assert await tcp_comes(TcpClient(site.flash()), port) == IN
        await nothing_half_open(door)
        assert count(door.metrics, "tcp", "done") == 1

    site.played(story)


@pytest.mark.parametrize("case", ["re-pinned, with its old key", "revoked", "provisional"])
def test_control_pins_that_were_good_once_let_them_in(site: Site, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody looked at what became of a pin."""

    def blind(self: RegistryPins, device: DeviceId) -> Sequence[bytes]:
        reading = self._reading(device)
        return () if reading is None else tuple(each.key.spki for each in reading.keys)

    monkeypatch.setattr(RegistryPins, "keys_of", blind)
    flash = CASES[case][0](site)

    async def story(_door: TcpDoor, port: int) -> None:
        assert await tcp_comes(TcpClient(flash), port) == IN

    site.played(story)


def test_control_a_door_that_forgets_to_count_down_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors.Guest, "_ended", lambda *_: None)

    async def story(door: TcpDoor, port: int) -> None:
        assert await tcp_comes(TcpClient(with_a_bit_flipped(site.flash())), port) == CLOSED
        with pytest.raises(AssertionError, match="half open"):
            await nothing_half_open(door, within_s=0.5)

    site.played(story)


def test_the_pinned_id_without_its_private_key_comes_to_no_session(site: Site) -> None:
    """It knows id and public key, cannot read message 3, and goes on as if it had."""

    async def story(door: TcpDoor, port: int) -> None:
        thief = site.line(port)
        nonce = await thief.connect()
        thief.writer.write(thief.device.message_2(nonce))
        assert len(await thief.reader.readexactly(512)) == 512
        made_up = secrets.token_bytes(40)
        thief.device.credentials, thief.device._sent = made_up, made_up[16:32]
        thief.writer.write(thief.device.seal(hello(thief.device.first_id)))
        assert await thief.rest() == b""
        await nothing_half_open(door)
        assert (count(door.metrics, "tcp", "odd"), count(door.metrics, "tcp", "done")) == (1, 0)

    site.played(story)


def test_another_key_that_is_sent_along_is_refused(site: Site) -> None:
    """The form of RSA-1024 devices: the pin is held against the key itself."""

    async def story(door: TcpDoor, port: int) -> None:
        other = site.line(port)
        other.device.spki = seeded("small", 1024).spki
        nonce = await other.connect()
        other.writer.write(other.device.message_2(nonce))
        assert await other.rest() == b""
        await nothing_half_open(door)
        assert count(door.metrics, "tcp", "other-key") == 1

    site.played(story)


async def replayed(site: Site, door: TcpDoor, port: int) -> bytes:
    """What comes to a device's message 2 when it is said again, over another connection."""
    first = site.line(port)
    message_2 = first.device.message_2(await first.connect())
    first.writer.write(message_2)
    await first.reader.readexactly(512)
    first.writer.close()
    again = site.line(port)
    await again.connect()
    again.writer.write(message_2)
    came = await again.rest()
    again.writer.close()
    await nothing_half_open(door)
    return came


def test_a_replayed_nonce_opens_nothing(site: Site) -> None:
    async def story(door: TcpDoor, port: int) -> None:
        assert await replayed(site, door, port) == b""
        assert (count(door.metrics, "tcp", "not-opened"), count(door.metrics, "tcp", "done")) == (1, 0)

    site.played(story)


def test_control_a_signer_that_does_not_compare_the_nonce_answers_it(site: Site) -> None:
    class Careless(Quick):
        def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
            block = self.cloud.private(ciphertext)
            return block[block.find(0, 2) + 41 :]

    async def story(door: TcpDoor, port: int) -> None:
        assert len(await replayed(site, door, port)) == 512

    site.played(story, Careless(CLOUD))


async def said_with(site: Site, door: TcpDoor, port: int, *ahead: int) -> bytes:
    """What comes to pings with these numbers, counted from the Hello's; the connection is over or silent then."""
    device = site.line(port)
    assert await device.greet()
    await nothing_half_open(door, sessions=1)
    for each in ahead:
        device.writer.write(device.device.seal(ping((device.number + each) % 65_536)))
    try:
        async with asyncio.timeout(1.0):
            return await device.rest()
    except TimeoutError:
        return b"it goes on"
    finally:
        device.writer.close()


@pytest.mark.parametrize("ahead", [(0,), (1, 1), (2,), (1, 3), (65_535,)])
def test_a_message_replayed_or_out_of_order_ends_the_session(site: Site, ahead: tuple[int, ...]) -> None:
    async def story(door: TcpDoor, port: int) -> None:
        assert await said_with(site, door, port, *ahead) == b""
        await nothing_half_open(door)

    site.played(story)


def test_control_a_session_that_looks_at_no_ids_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(door: TcpDoor, port: int) -> None:
        assert await said_with(site, door, port, 1, 2) == b"it goes on", "with nothing wrong"
        monkeypatch.setattr(FromDevice, "require_next", lambda *_: None)
        assert await said_with(site, door, port, 1, 1) == b"it goes on"

    site.played(story)


@pytest.mark.parametrize("cut", [1, 17, 33])
def test_a_truncated_record_is_waited_for_and_then_given_up(site: Site, cut: int) -> None:
    async def story(door: TcpDoor, port: int) -> None:
        device = site.line(port)
        nonce = await device.connect()
        device.writer.write(device.device.message_2(nonce))
        device.device.read_3(await device.reader.readexactly(512))
        frame = device.device.seal(hello(device.device.first_id))
        device.writer.write(frame[: min(cut, len(frame) - 1)])
        assert await device.rest() == b""
        await nothing_half_open(door)
        assert (count(door.metrics, "tcp", "late"), count(door.metrics, "tcp", "done")) == (1, 0)

    site.played(story)
