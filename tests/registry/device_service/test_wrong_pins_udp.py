"""Wrong pins in the field, over UDP: each refused on the right side and counted by its word, and nothing stays half open.

docs/threats.md, "Wrong pins, every way round", has a row for each; all against the registry's own pins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.families.smp.emulated import dtls_client
from fixtures.families.smp.emulated.flash import Flash
from fixtures.families.smp.emulated.tcp_client import NOT_TRUSTED, REFUSED
from fixtures.families.smp.emulated.udp_client import UdpClient
from registry.database import Database
from registry.device_service.field.udp_door import UdpDoor
from registry.device_service.pins import RegistryPins
from registry.device_service.udp.gnutls import endpoint
from tests.registry.device_service.dtls_client import Client, spki_of
from tests.registry.device_service.field_units import QUICK_UDP, UdpDevice, count, udp_door
from tests.registry.device_service.flashed import (
    CLOSED,
    IN,
    failed,
    flash_of,
    nothing_half_open,
    udp_comes,
    with_a_bit_flipped,
)
from tests.registry.device_service.service_end import Service, new_key
from tests.registry.device_service.test_conversation import message, ping
from tests.registry.living import Living, living
from tests.registry.make import Device

pytestmark = pytest.mark.timeout(60)
LASTING = replace(QUICK_UDP, silence_s=30.0, hello_s=30.0)


@dataclass(slots=True)
class Site:
    """A registry with one finished device, and a service."""

    living: Living
    device: Device
    service: Service = field(default_factory=Service)

    @property
    def cloud(self) -> bytes:
        return spki_of(self.service.signer.key)

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        assert isinstance(self.device.key, ec.EllipticCurvePrivateKey)
        return self.device.key

    def flash(self, **changes: Any) -> Flash:
        return flash_of(self.device, self.cloud, 1, **changes)

    def played(self, story: Callable[[UdpDoor, int], Awaitable[None]], **changes: Any) -> None:
        pins = RegistryPins(self.living.database, self.living.made.trusted, now=lambda: self.living.now)

        async def run() -> None:
            async with udp_door(self.service.credentials, pins, **changes) as (door, port):
                await story(door, port)

        asyncio.run(run())

    def line(self, port: int, **changes: Any) -> UdpDevice:
        return UdpDevice(Client(self.key, retransmit_ms=300, **changes), self.device.device_id.raw, port)


@pytest.fixture
def site(database: Database) -> Site:
    lives = living(database)
    return Site(lives, lives.device(key=new_key()))


def revoked(site: Site) -> Flash:
    site.living.acts.do(site.device.device_id, "revoke", site.living.act(site.device, "revoke"))
    return site.flash()


def provisional(site: Site) -> Flash:
    site.device = site.living.device(active=False, key=new_key())
    return site.flash()


def repinned(site: Site) -> Flash:
    site.living.repinned(site.device, new_key())
    return site.flash()


CASES: dict[str, tuple[Callable[[Site], Flash], str, str]] = {
    "cloud key with one bit flipped": (
        lambda site: with_a_bit_flipped(site.flash()), failed(NOT_TRUSTED), "refused-by-device",
    ),
    "another device's key": (lambda site: site.flash(key=new_key()), failed(REFUSED), "not-pinned"),
    "re-pinned, with its old key": (repinned, failed(REFUSED), "not-pinned"),
    "revoked": (revoked, failed(REFUSED), "not-pinned"),
    "provisional": (provisional, failed(REFUSED), "not-pinned"),
}  # fmt: skip
"""What is in a device's flash, how its coming in ends for it, and as what it is counted."""


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_pin_is_refused(site: Site, case: str) -> None:
    make, ends, word = CASES[case]
    flash = make(site)

    async def story(door: UdpDoor, port: int) -> None:
        assert await udp_comes(UdpClient(flash), port) == ends
        await nothing_half_open(door)
        assert (count(door.metrics, "udp", word), count(door.metrics, "udp", "done")) == (1, 0)

    site.played(story)


def test_control_with_nothing_wrong_it_comes_in_and_leaves_nothing_behind(site: Site) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        assert await udp_comes(UdpClient(site.flash()), port) == IN
        await nothing_half_open(door, sessions=1)
        await nothing_half_open(door, within_s=6.0)
        assert count(door.metrics, "udp", "done") == 1

    site.played(story)


@pytest.mark.parametrize("case", ["another device's key", "re-pinned, with its old key", "revoked", "provisional"])
def test_control_pins_that_are_good_to_everybody_let_them_in(
    site: Site, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if nobody looked whose key it is, and what became of it."""
    flash = CASES[case][0](site)
    monkeypatch.setattr(RegistryPins, "good", lambda *_: site.device.device_id)

    async def story(_door: UdpDoor, port: int) -> None:
        assert await udp_comes(UdpClient(flash), port) == IN

    site.played(story)


def test_control_a_device_that_takes_any_cloud_key_comes_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own look at the anchor taken away: it takes whatever key the service shows for the anchor's."""
    real = dtls_client.DtlsClient.__init__

    def trusting(self: dtls_client.DtlsClient, flash: Flash) -> None:
        real(self, flash)
        self._cloud = site.cloud

    monkeypatch.setattr(dtls_client.DtlsClient, "__init__", trusting)

    async def story(_door: UdpDoor, port: int) -> None:
        assert await udp_comes(UdpClient(with_a_bit_flipped(site.flash())), port) == IN

    site.played(story)


def test_control_a_door_that_forgets_to_count_down_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UdpDoor, "_failed", lambda *_: None)

    async def story(door: UdpDoor, port: int) -> None:
        assert await udp_comes(UdpClient(site.flash(key=new_key())), port, 1.0) in {CLOSED, failed(REFUSED)}
        with pytest.raises(AssertionError, match="half open"):
            await nothing_half_open(door, within_s=0.5)

    site.played(story)


@pytest.mark.parametrize("kind", ["RAWPK", "X509"])
def test_the_pinned_key_without_its_private_half_comes_to_no_session(site: Site, kind: str) -> None:
    """It shows the pinned key, and signs with its own; with its own key in that place it is in."""

    async def story(door: UdpDoor, port: int) -> None:
        assert not await site.line(port, signs=new_key(), kind=kind).greet(2)
        await nothing_half_open(door)
        assert (count(door.metrics, "udp", "bad-signature"), count(door.metrics, "udp", "done")) == (1, 0)
        assert await site.line(port, kind=kind).greet(), "the control"

    site.played(story)


def heard_by(door: UdpDoor) -> list[bytes]:
    """All datagrams that come to a door, from now on."""
    heard: list[bytes] = []
    took = door.datagram_received

    def listen(data: bytes, addr: Any) -> None:
        heard.append(data)
        took(data, addr)

    door._transport._protocol.datagram_received = listen  # type: ignore[union-attr]
    return heard


def test_a_replayed_handshake_from_elsewhere_begins_nothing(site: Site) -> None:
    """Every datagram of a device that came in, its cookie too: the cookie is good for its own address alone."""

    async def story(door: UdpDoor, port: int) -> None:
        heard = heard_by(door)
        assert await site.line(port).greet()
        said, signed = tuple(heard), site.service.signer.asked
        for datagram in said:
            door.datagram_received(datagram, ("192.0.2.1", 7))
        await asyncio.sleep(0.2)
        await nothing_half_open(door, sessions=1)
        assert (site.service.signer.asked, count(door.metrics, "udp", "done")) == (signed, 1)

    site.played(story, times=LASTING)


def test_control_the_same_from_its_own_address_is_looked_at(site: Site) -> None:
    """A new hello with its cookie from where it is good begins a handshake, in which nobody can go on."""

    async def story(door: UdpDoor, port: int) -> None:
        heard = heard_by(door)
        device = site.line(port)
        assert await device.greet()
        first = [each for each in heard if each[0] == 22 and each[13] == 1][-1]
        door._clients.clear()
        door.datagram_received(first, device.line.getsockname())
        assert door.half_open == 1
        for datagram in heard[heard.index(first) + 1 :]:
            door.datagram_received(datagram, device.line.getsockname())
        await asyncio.sleep(0.3)
        assert count(door.metrics, "udp", "done") == 1, "what was said in the first does not fit the second"

    site.played(story)


async def answers(device: UdpDevice, *datagrams: bytes) -> int:
    """How many messages come to these."""
    for each in datagrams:
        device.line.send(each)
    before = len(device.heard)
    for _ in range(6):
        await device.turn()
    return len(device.heard) - before


def sealed(device: UdpDevice, number: int) -> bytes:
    """A ping as the datagram that carries it."""
    device.client.send(ping(number))
    return device.client.outbox.pop()


def test_a_replayed_or_truncated_record_is_nothing_and_the_session_goes_on(site: Site) -> None:
    async def story(door: UdpDoor, port: int) -> None:
        device = site.line(port)
        assert await device.greet()
        first, second, third = (sealed(device, number) for number in (501, 502, 503))
        assert await answers(device, first) == 1
        assert await answers(device, first, first) == 0, "once is enough"
        assert await answers(device, third[:-1], third[:20], third[:-1] + bytes([third[-1] ^ 1])) == 0
        assert await answers(device, third, second) == 2, "DTLS promises no order, and takes each once"
        assert device.heard[-1] == message(2, 0, 502)
        assert (len(door), door.sessions, door.half_open) == (1, 1, 0)
        device.client.bye()
        await device.turn()
        await nothing_half_open(door)

    site.played(story, times=LASTING)


def test_control_without_replay_protection_each_is_answered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """GnuTLS told to take records twice (GNUTLS_NO_REPLAY_PROTECTION)."""
    monkeypatch.setattr(endpoint, "_SERVER", endpoint._SERVER | 1 << 5)

    async def story(_door: UdpDoor, port: int) -> None:
        device = site.line(port)
        assert await device.greet()
        first = sealed(device, 501)
        assert await answers(device, first, first, first) == 3

    site.played(story, times=LASTING)


@pytest.mark.parametrize("cut", [20, 60])
def test_truncated_handshakes_are_given_up(site: Site, cut: int) -> None:
    """Whatever follows the hello with its cookie is cut short on its way."""

    async def story(door: UdpDoor, port: int) -> None:
        took = door.datagram_received

        def cutting(data: bytes, addr: Any) -> None:
            took(data if data[0] == 22 and data[13] == 1 else data[:cut], addr)

        door._transport._protocol.datagram_received = cutting  # type: ignore[union-attr]
        assert not await site.line(port).greet(2.5)
        await nothing_half_open(door)
        assert (count(door.metrics, "udp", "timed-out"), count(door.metrics, "udp", "done")) == (1, 0)

    site.played(story, times=replace(QUICK_UDP, handshake_s=1.5))
