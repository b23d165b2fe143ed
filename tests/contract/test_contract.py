"""The contract of docs/wire.md as the station meets it: the same tests for every kind of device."""

import dataclasses
import secrets

import pytest

from fixtures.device import (
    Device,
    DeviceBusyError,
    Generation,
    GenerationState,
    LinkLostError,
    NoAnswerError,
    RefusalReason,
    RefusedError,
)
from fixtures.families.smp.driver import Patience, SmpDevice
from fixtures.link import PortBusyError, PortMissingError
from fixtures.power import CycleKind
from tests.contract.nests import HARDWARE, PRODUCT, Nest
from tests.contract.parties import closing_report, generated, key_done, proof_holds, rsa_key, tcp_anchor, udp_anchor
from trust.identity import JobId
from trust.keys import KeyType, PublicKey
from trust.proof import proves

pytestmark = pytest.mark.anyio


async def refusal(call, *arguments, **options) -> RefusalReason:
    """Why the device refused."""
    with pytest.raises(RefusedError) as caught:
        await call(*arguments, **options)
    return caught.value.reason


async def was_busy(verb, *arguments) -> bool:
    """Whether the device puts this off; a lucky key may be there before we ask."""
    try:
        await verb(*arguments)
    except DeviceBusyError:
        return True
    return False


async def is_done(device: Device) -> bool:
    return (await device.generation()).state is GenerationState.DONE


async def test_a_fresh_device_says_who_it_is_and_that_it_has_nothing(nest: Nest, device: Device) -> None:
    identity = await device.identify()
    assert (identity.device_id, identity.product_id) == (nest.device_id, PRODUCT)
    assert identity.hardware == HARDWARE[nest.kind]
    assert (identity.key_type, identity.job, identity.has_anchor, identity.locked) == (None, None, False, False)
    assert identity.rng_healthy
    assert identity.emulated
    assert (await device.generation()).state is GenerationState.IDLE
    assert await device.read_anchor() is None
    challenge = secrets.token_bytes(32)
    assert await refusal(device.public_key) is RefusalReason.NO_KEY
    assert await refusal(device.prove, challenge, "pin") is RefusalReason.NO_KEY
    assert await refusal(device.report, challenge) is RefusalReason.NO_KEY
    assert await refusal(device.lock, JobId.new()) is RefusalReason.NO_KEY


async def test_an_ec_key_is_made_and_proves_itself(nest: Nest, device: Device) -> None:
    job = JobId.new()
    key, statuses = await generated(device, KeyType.EC_P256, job)
    assert [status.percent for status in statuses] == sorted(status.percent for status in statuses)
    assert (key.job, key.public_key.key_type) == (job, KeyType.EC_P256)
    identity = await device.identify()
    assert (identity.key_type, identity.job) == (KeyType.EC_P256, job)
    challenge = secrets.token_bytes(32)
    first, second = await device.prove(challenge, "pin"), await device.prove(challenge, "pin")
    assert first != second, "one nonce was used twice"
    assert proves(key.public_key, nest.device_id, "pin", challenge, first)
    assert not proves(key.public_key, nest.device_id, "verify", challenge, first)
    assert not proves(key.public_key, nest.device_id, "pin", secrets.token_bytes(32), first)


async def test_an_rsa_key_is_made_and_proves_itself(nest: Nest, device: Device) -> None:
    job = JobId.new()
    assert (await device.generate(KeyType.RSA_2048, job)).state is GenerationState.RUNNING
    for verb in (device.identify, device.public_key, device.read_anchor):
        assert await was_busy(verb) or await is_done(device), "a request was served while a key was made"
    assert await was_busy(device.generate, KeyType.RSA_2048, job) or await is_done(device)
    key, statuses = await key_done(device)
    assert [status.percent for status in statuses] == sorted(status.percent for status in statuses)
    assert (key.job, key.public_key.key_type) == (job, KeyType.RSA_2048)
    assert await proof_holds(device, key.public_key, nest.device_id)
    report = await closing_report(device, key.public_key)
    assert report.device_fingerprint == key.public_key.fingerprint
    assert await refusal(device.generate, KeyType.EC_P256, job) is RefusalReason.OTHER_ALGORITHM


async def test_the_same_job_gets_the_same_key(nest: Nest, device: Device) -> None:
    job = JobId.new()
    key, _ = await generated(device, KeyType.EC_P256, job)
    assert (await device.generate(KeyType.EC_P256, job)).state is GenerationState.DONE
    assert (await device.generate(KeyType.EC_P256, job, replace=True)).state is GenerationState.DONE
    assert await device.public_key() == key
    again = (await nest.slot.cycle(device)).device
    idle = Generation(GenerationState.IDLE, 0)
    assert await again.generation() == idle, "status tells of this start only"
    assert (await again.generate(KeyType.EC_P256, job)).state is GenerationState.DONE
    assert await again.generation() == idle, "no key was made, so none is done"
    assert await again.public_key() == key
    await again.close()


async def test_another_job_is_refused_unless_the_key_is_to_be_replaced(nest: Nest, device: Device) -> None:
    first, _ = await generated(device, KeyType.EC_P256, JobId.new())
    job = JobId.new()
    assert await refusal(device.generate, KeyType.EC_P256, job) is RefusalReason.OTHER_JOB
    assert await device.public_key() == first
    second, _ = await generated(device, KeyType.EC_P256, job, replace=True)
    assert second.job == job
    assert second.public_key != first.public_key
    challenge = secrets.token_bytes(32)
    signature = await device.prove(challenge, "pin")
    assert proves(second.public_key, nest.device_id, "pin", challenge, signature)
    assert not proves(first.public_key, nest.device_id, "pin", challenge, signature)


async def test_an_anchor_is_stored_as_it_was_written(nest: Nest, device: Device) -> None:
    first = udp_anchor(host="a" * 63, port=1)
    await device.write_anchor(first)
    assert await device.read_anchor() == first
    assert (await device.identify()).has_anchor
    second = tcp_anchor()
    await device.write_anchor(second)
    assert await device.read_anchor() == second
    again = (await nest.slot.cycle(device)).device
    assert await again.read_anchor() == second
    await again.close()


async def test_an_anchor_that_the_device_could_not_use_is_refused(device: Device) -> None:
    good = udp_anchor()
    await device.write_anchor(good)
    off_curve = bytearray(good.cloud_key.spki)
    off_curve[-1] ^= 1
    bad_keys = [
        dataclasses.replace(good, cloud_key=rsa_key()),
        dataclasses.replace(good, authority_key=rsa_key()),
        dataclasses.replace(good, cloud_key=PublicKey(b"\x30\x00", KeyType.EC_P256)),
        dataclasses.replace(good, cloud_key=PublicKey(bytes(off_curve), KeyType.EC_P256)),
        dataclasses.replace(good, authority_key=PublicKey(good.authority_key.spki + b"\0", KeyType.EC_P256)),
    ]
    for anchor in bad_keys:
        assert await refusal(device.write_anchor, anchor) is RefusalReason.BAD_KEY
    for anchor in [dataclasses.replace(good, host=host) for host in ("", "a b", "a" * 64)]:
        assert await refusal(device.write_anchor, anchor) is RefusalReason.INVALID
    for anchor in [dataclasses.replace(good, port=port) for port in (0, 65536)]:
        assert await refusal(device.write_anchor, anchor) is RefusalReason.INVALID
    assert await device.read_anchor() == good


async def test_a_lock_closes_writes_for_good(nest: Nest, device: Device) -> None:
    job = JobId.new()
    key, _ = await generated(device, KeyType.EC_P256, job)
    assert await refusal(device.lock, job) is RefusalReason.NO_ANCHOR
    anchor = udp_anchor()
    await device.write_anchor(anchor)
    assert await refusal(device.lock, JobId.new()) is RefusalReason.WRONG_JOB
    assert not (await device.identify()).locked
    await device.lock(job)
    await device.lock(job)
    restarted = await nest.slot.cycle(device)
    assert (restarted.kind, restarted.identity.locked) == (CycleKind.POWER, True)
    device = restarted.device
    assert await device.identify() == restarted.identity
    assert await refusal(device.lock, JobId.new()) is RefusalReason.WRONG_JOB
    assert await refusal(device.generate, KeyType.EC_P256, job) is RefusalReason.LOCKED
    assert await refusal(device.generate, KeyType.EC_P256, JobId.new(), replace=True) is RefusalReason.LOCKED
    assert await refusal(device.write_anchor, udp_anchor()) is RefusalReason.LOCKED
    assert (await device.public_key(), await device.read_anchor()) == (key, anchor)
    assert await proof_holds(device, key.public_key, nest.device_id)
    assert (await closing_report(device, key.public_key)).locked
    await device.close()


async def test_the_closing_report_says_what_flash_holds(nest: Nest, device: Device) -> None:
    job = JobId.new()
    key, _ = await generated(device, KeyType.EC_P256, job)
    bare = await closing_report(device, key.public_key)
    none = "0" * 64
    assert (bare.cloud_fingerprint, bare.authority_fingerprint, bare.host, bare.port) == (none, none, "", 0)
    anchor = udp_anchor()
    await device.write_anchor(anchor)
    report, identity = await closing_report(device, key.public_key), await device.identify()
    assert (report.device_id, report.job) == (nest.device_id, job)
    assert report.device_fingerprint == key.public_key.fingerprint
    assert report.cloud_fingerprint == anchor.cloud_key.fingerprint
    assert report.authority_fingerprint == anchor.authority_key.fingerprint
    assert (report.service, report.host, report.port) == (anchor.service, anchor.host, anchor.port)
    assert report.firmware_sha256 == identity.firmware_sha256.hex()
    assert not report.locked
    assert report.debug_closed == identity.security.debug_closed
    assert report.readout_protected == identity.security.readout_protected
    assert report.key_storage == identity.security.key_storage
    assert report.emulated == identity.emulated


async def test_sizes_that_are_wrong_are_refused(device: Device) -> None:
    await generated(device, KeyType.EC_P256, JobId.new())
    challenge = secrets.token_bytes(32)
    assert await refusal(device.prove, challenge[1:], "pin") is RefusalReason.INVALID
    assert await refusal(device.prove, challenge, "") is RefusalReason.INVALID
    assert await refusal(device.prove, challenge, "c" * 33) is RefusalReason.INVALID
    for context in ("pin\n", "\x1b[2J", "\x7f", "pän"):
        assert await refusal(device.prove, challenge, context) is RefusalReason.INVALID
    assert await refusal(device.report, challenge + b"\0") is RefusalReason.INVALID


async def test_a_power_cut_loses_what_was_not_in_flash_and_nothing_else(nest: Nest, device: SmpDevice) -> None:
    key, _ = await generated(device, KeyType.EC_P256, JobId.new())
    assert (await device.generation()).state is GenerationState.DONE
    await nest.power_off()
    device._patience = Patience(read_s=(0.2,))
    with pytest.raises(NoAnswerError):
        await device.generation()
    device._patience = Patience()
    await nest.power_on()
    assert (await device.identify()).device_id == nest.device_id, "the port did not outlive the power cut"
    assert (await device.generation()).state is GenerationState.IDLE
    assert await device.public_key() == key


async def test_a_power_cut_while_a_key_is_made_leaves_the_old_key(nest: Nest, device: Device) -> None:
    key, _ = await generated(device, KeyType.EC_P256, JobId.new())
    started = await device.generate(KeyType.RSA_2048, JobId.new(), replace=True)
    await nest.power_off()
    await nest.power_on()
    assert started.state is GenerationState.RUNNING
    assert await device.public_key() == key
    assert await proof_holds(device, key.public_key, nest.device_id)


async def test_a_reset_restarts_the_firmware(nest: Nest, device: Device) -> None:
    key, _ = await generated(device, KeyType.EC_P256, JobId.new())
    restarted = await nest.slot_without_switch.cycle(device)
    assert restarted.kind is CycleKind.RESET
    device = restarted.device
    assert (await device.generation()).state is GenerationState.IDLE, "no restart took place"
    assert await device.public_key() == key
    await device.close()


async def test_a_pulled_plug_is_a_lost_link_and_then_a_missing_port(nest: Nest, device: Device) -> None:
    key, _ = await generated(device, KeyType.EC_P256, JobId.new())
    await nest.unplug()
    with pytest.raises(LinkLostError):
        await device.identify()
    with pytest.raises(PortMissingError):
        await nest.slot.open()
    await device.close()
    await nest.plug()
    device = await nest.slot.open()
    assert await device.public_key() == key
    await device.close()


async def test_a_port_is_opened_once(nest: Nest, device: Device) -> None:
    with pytest.raises(PortBusyError):
        await nest.slot.open()
    await device.close()
    again = await nest.slot.open()
    assert (await again.identify()).device_id == nest.device_id
    await again.close()
