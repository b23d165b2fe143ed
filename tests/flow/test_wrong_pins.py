"""Wrong pins at the bench: each refused on the right side, with its fault and its remedy, and nothing stays half open.

docs/threats.md, "Wrong pins, every way round", has a row for each. What is wrong comes into the unit's flash, or onto its
line, at the moment when the tunnel opens: the station has then read id, key and anchor, and everything was right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.device import Service
from fixtures.families.smp.emulated import dtls_client
from fixtures.families.smp.emulated.flash import KeyRecord
from registry.device_service.pins import BenchPin
from station.carrying import Carrying
from station.events import UnitFinished, Verdict
from station.fault_table import TABLE
from station.relay import Bounds, Carried
from tests.flow import handshake_causes as meet
from tests.flow.bench import Bench, Meddled, WrappedSlot
from tests.flow.books import play
from tests.flow.relaying import LocalRelay, TokenKeys
from trust.identity import DeviceId, JobId

pytestmark = pytest.mark.timeout(60)
Tamper = Callable[[Bench], None]
PLANTS: dict[str, dict[str, Any]] = {"tcp": meet.ORDER, "udp": {"udp": True}}
QUICK = Bounds(silence_s=1.0)


def with_a_bit_flipped(bench: Bench) -> None:
    """In the middle of the cloud key in flash."""
    anchor = bench.flash().anchor
    assert anchor is not None
    cloud = bytearray(anchor.cloud)
    cloud[len(cloud) // 2] ^= 1
    bench.flash(anchor=msgspec.structs.replace(anchor, cloud=bytes(cloud)))


def with_another_key(bench: Bench) -> None:
    """Another device's, in place of the one that was just pinned and proved."""
    held = bench.flash().key
    assert held is not None
    over_udp = bench.plant.work.service == "udp"
    key = ec.generate_private_key(ec.SECP256R1()) if over_udp else rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    bench.flash(key=KeyRecord(held.algorithm, private, held.job))


async def tampered(bench: Bench, tamper: Tamper) -> UnitFinished:
    """The verdict of a unit that somebody tampers with when its tunnel opens."""
    slot = bench.slot() if bench.plant.work.service == "udp" else meet.slot(bench)
    found = await bench.insert(WrappedSlot(slot, wrap=lambda each: Meddled(each, "tunnel_open", lambda: tamper(bench))))
    relay = bench.parties().relay
    assert len(relay.desk) == 0, "nothing is half open"  # type: ignore[attr-defined]
    return found


CASES: dict[tuple[str, str], tuple[Tamper, str]] = {
    ("tcp", "cloud key with one bit flipped"): (with_a_bit_flipped, "handshake-refused"),
    ("udp", "cloud key with one bit flipped"): (with_a_bit_flipped, "handshake-not-trusted"),
    ("tcp", "another device's key"): (with_another_key, "handshake-not-trusted"),
    ("udp", "another device's key"): (with_another_key, "handshake-refused"),
}
"""By service and case: what is done, and the fault that the operator sees."""


@pytest.mark.parametrize(("service", "case"), CASES)
def test_a_wrong_pin_is_the_line_engineers(tmp_path: Path, service: str, case: str) -> None:
    tamper, code = CASES[service, case]

    async def story(bench: Bench) -> None:
        found = await tampered(bench, tamper)
        assert (found.verdict, found.code) == (Verdict.QUARANTINE, code)
        assert "call the line engineer" in TABLE[code].remedy

    play(tmp_path, story, **PLANTS[service])


@pytest.mark.parametrize("service", PLANTS)
def test_control_with_nothing_wrong_it_passes(tmp_path: Path, service: str) -> None:
    async def story(bench: Bench) -> None:
        assert (await tampered(bench, lambda _: None)).verdict is Verdict.PASS

    play(tmp_path, story, **PLANTS[service])


def test_the_pinned_key_without_its_private_half_is_refused(tmp_path: Path) -> None:
    """Over UDP a device shows its key: the pinned one, and signs with another that it has."""
    shown: list[bytes] = []
    spki = dtls_client.crypto.spki

    def tamper(bench: Bench) -> None:
        held = bench.flash().key
        assert held is not None
        shown.append(spki(held.private))
        with_another_key(bench)

    async def story(bench: Bench) -> None:
        with mock.patch.object(dtls_client.crypto, "spki", lambda private: shown[0] if shown else spki(private)):
            found = await tampered(bench, tamper)
        assert shown and (found.verdict, found.code) == (Verdict.QUARANTINE, "handshake-refused")

    play(tmp_path, story, udp=True)


def test_control_a_service_that_takes_any_key_lets_another_devices_through(tmp_path: Path) -> None:
    """The handshake comes to its report; what ends the unit then is that it cannot sign its closing report."""

    async def story(bench: Bench) -> None:
        with mock.patch.object(BenchPin, "good", lambda self, _: self.device_id):
            found = await tampered(bench, with_another_key)
        assert not found.code.startswith("handshake-") and found.verdict is not Verdict.PASS, found

    play(tmp_path, story, udp=True)


@dataclass(slots=True)
class Meddling:
    """A way on which somebody changes what the service says: `change` gets each piece and its number."""

    relay: LocalRelay
    change: Callable[[bytes, int], bytes]
    said: int = 0

    @property
    def desk(self) -> Any:
        return self.relay.desk

    def _changed(self, carried: Carried) -> Carried:
        changed = []
        for each in carried.send:
            changed.append(self.change(each, self.said))
            self.said += 1
        return replace(carried, send=tuple(changed))

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        return self._changed(await self.relay.open(device, job, service, first))

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        return self._changed(await self.relay.step(handshake, received, ended=ended))


async def with_meddling(bench: Bench, change: Callable[[bytes, int], bytes]) -> UnitFinished:
    real = bench.parties().relay
    assert isinstance(real, LocalRelay)
    bench.change(relay=Meddling(real, change))
    slot = bench.slot() if bench.plant.work.service == "udp" else meet.slot(bench)
    found = await bench.insert(slot, bounds=QUICK)
    assert len(real.desk) == 0, "nothing is half open"
    return found


def stale(piece: bytes, number: int) -> bytes:
    """The nonce of another time in place of this one's."""
    return os.urandom(40) if number == 0 else piece


def test_a_nonce_of_another_time_is_refused(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        found = await with_meddling(bench, stale)
        assert (found.verdict, found.code) == (Verdict.QUARANTINE, "handshake-refused")

    play(tmp_path, story, **meet.ORDER)


def test_control_a_signer_that_does_not_compare_the_nonce_takes_it(tmp_path: Path) -> None:
    def careless(self: TokenKeys, ciphertext: bytes, nonce: bytes) -> bytes:
        plain = self.token.open_rsa("cloud-tcp", ciphertext)
        assert plain is not None
        return plain[len(nonce) :]

    async def story(bench: Bench) -> None:
        with mock.patch.object(TokenKeys, "tcp_open", careless):
            assert (await with_meddling(bench, stale)).verdict is Verdict.PASS

    play(tmp_path, story, **meet.ORDER)


def cut(piece: bytes, number: int) -> bytes:
    """The last byte is missing of all but the first: of message 3, or of the datagram that ends the handshake."""
    return piece[:-1] if number else piece


@pytest.mark.parametrize("service", PLANTS)
def test_a_truncated_record_ends_it_in_time(tmp_path: Path, service: str) -> None:
    async def story(bench: Bench) -> None:
        found = await with_meddling(bench, cut)
        assert (found.verdict, found.code) == (Verdict.FAIL, "handshake-timed-out")
        assert TABLE[found.code].remedy.startswith("Insert the unit again")

    play(tmp_path, story, **PLANTS[service])


def test_control_a_station_that_closes_nothing_leaves_the_services_end_open(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with (
            mock.patch.object(Carrying, "_close", new=mock.AsyncMock()),
            pytest.raises(AssertionError, match="half open"),
        ):
            await tampered(bench, with_another_key)

    play(tmp_path, story, **meet.ORDER)
