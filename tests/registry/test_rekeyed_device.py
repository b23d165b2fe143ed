"""A finished, locked device gets another key: approvals, registry, its signer and the device itself, end to end."""

from __future__ import annotations

import struct
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.signer import AuthorisationRequest
from registry.database import Database
from registry.errors import RefusedError
from registry.pins.acts import Shown
from tests.contract.nests import FIRMWARE, build
from tests.firmware.machine import DEVICE_ID, blank_flash, board_command, native_command, powered
from tests.firmware.make_vectors import record
from tests.firmware.wire import Client
from tests.firmware.wire import RefusedError as DeviceRefusedError
from tests.registry.benching import ENDS, finished, site_with_signer
from tests.registry.living import WHO, Living
from tests.registry.make import Device, public
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.rekey import Step
from trust.repin import NEW, OLD, bound

pytestmark = pytest.mark.timeout(60)
KEY, ANCHOR, LOCK = 1, 2, 3


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Living:
    return site_with_signer(database, tmp_path)


def flashed(device: Device, order: WorkOrder) -> bytes:
    """The flash of a device that a line has finished: key, anchor and lock (docs/wire.md §6)."""
    assert isinstance(device.key, ec.EllipticCurvePrivateKey)
    scalar = device.key.private_numbers().private_value.to_bytes(32)
    parts = (order.cloud_key, order.authority_key, order.host.encode())
    anchor = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    anchor += struct.pack(">BH", {"tcp": 0, "udp": 1}[order.service], order.port)
    image = bytearray(blank_flash())
    for kind, payload in ((KEY, b"\x01" + device.job.raw + scalar), (ANCHOR, anchor), (LOCK, device.job.raw)):
        held = record(kind, 1, payload)
        image[(2 * kind - 1) * 0x1000 : (2 * kind - 1) * 0x1000 + len(held)] = held
    return bytes(image)


def step(site: Living, client: Client, act: Envelope, wanted: Step, new: str = "") -> Envelope:
    """Nonce of the device, word of the authority, step of the device."""
    request = AuthorisationRequest(act=act, step=wanted, nonce=client.nonce().hex(), new_fingerprint=new)
    signed = site.acts.authorise(DeviceId(DEVICE_ID), request)
    client.step(signed.payload, signed.signatures[0].sig)
    return signed


def repin(site: Living, client: Client, act: Envelope, leave: Envelope, new: PublicKey) -> None:
    """The device shows its new key to the registry, and vouches for it with the old one."""
    challenge, _ = site.acts.challenge(DeviceId(DEVICE_ID))
    over = bound(challenge, act.payload_sha256, leave.payload_sha256, new.fingerprint)
    shown = Shown(
        challenge=challenge, spki=new.spki, authorisation=leave,
        signatures=(client.prove_beside(over, NEW), client.prove_beside(over, NEW)),
        old_signatures=(client.prove(over, OLD), client.prove(over, OLD)),
    )  # fmt: skip
    site.acts.repin(DeviceId(DEVICE_ID), act, shown)


@pytest.mark.parametrize(
    "kind", ["native", pytest.param("emulated", marks=[pytest.mark.qemu, pytest.mark.xdist_group("qemu")])]
)
def test_from_two_approvals_to_a_new_active_key_and_an_old_one_that_has_ended(
    site: Living, tmp_path: Path, kind: str
) -> None:
    device, flash = finished(site, DeviceId(DEVICE_ID)), tmp_path / "flash.bin"
    flash.write_bytes(flashed(device, site.made.order))
    build(kind)
    folder = FIRMWARE / "build"
    command = (
        native_command(folder / "native/firmware", flash)
        if kind == "native"
        else board_command(folder / "ast1030/firmware.elf", flash)
    )
    with powered(command) as bench:
        assert bench.client.public_key()["spki"] == public(device.key).spki
        act = site.act(device, "rekey", ends_at=ENDS)
        alone = site.act(device, "rekey", WHO["pia"])
        with pytest.raises(RefusedError) as caught:
            step(site, bench.client, alone, Step.NEW_KEY)
        assert caught.value.code is Code.ACT_NOT_APPROVED
        leave = step(site, bench.client, act, Step.NEW_KEY)
        bench.client.wait_for_key()
        new = PublicKey.from_der(bench.client.key_beside()["spki"])
        with pytest.raises(RefusedError, match="have it pinned first"):
            step(site, bench.client, act, Step.COMMIT, new.fingerprint)
        repin(site, bench.client, act, leave, new)
        assert site.states(device) == ["expiring", "active"]
        step(site, bench.client, act, Step.COMMIT, new.fingerprint)
        assert bench.power_cycle().public_key()["spki"] == new.spki
        with pytest.raises(RefusedError, match="is good until"):
            step(site, bench.client, act, Step.END_OLD_KEY, new.fingerprint)
        with pytest.raises(DeviceRefusedError):  # the first word, said again
            bench.client.step(leave.payload, leave.signatures[0].sig)
        site.now += timedelta(days=7)
        step(site, bench.client, act, Step.END_OLD_KEY, new.fingerprint)
        assert bench.client.key_beside()["st"] == 0
        assert bench.client.identify()["lock"] == 1
    assert [(each.key, each.state) for each in site.read(device).keys] == [
        (public(device.key), "ended"), (new, "active"),
    ]  # fmt: skip
    assert device.key.private_numbers().private_value.to_bytes(32) not in flash.read_bytes()  # type: ignore[union-attr]
