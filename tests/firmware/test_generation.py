"""While a key is made: the line is served, progress never falls, and no reset or cut leaves half a key."""

import time
from pathlib import Path

import pytest

from tests.firmware.machine import Device
from tests.firmware.signatures import EC, RSA, new_job, proof_message, verify
from tests.firmware.wire import OS, PROVISION, READ, WRITE, Refused

BUSY, OTHER_JOB = 3, 6


def test_status_is_served_and_all_else_is_busy(device: Device) -> None:
    client = device.client
    assert client.generate(RSA, new_job()) == 1
    others = [(WRITE, OS, 0), (READ, OS, 6), (READ, OS, 7), (READ, PROVISION, 0), (WRITE, PROVISION, 1),
              (READ, PROVISION, 3), (WRITE, PROVISION, 9), (READ, PROVISION, 77), (READ, 64, 0)]  # fmt: skip
    running = 0
    for op, group, command in others:
        answer = client.exchange(op, group, command, b"\xa0").fields
        if client.status()[0] == 1:  # it was running before and after that request
            assert answer == {"err": {"group": PROVISION, "rc": BUSY}}, (group, command)
            running += 1
    seen = client.wait_for_key()
    assert running >= 3, "the key was there too soon for this test to say anything"
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert client.echo("free again") == "free again"


def test_progress_never_falls(device: Device) -> None:
    assert device.client.generate(RSA, new_job()) == 1
    seen = device.client.wait_for_key()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


@pytest.mark.parametrize("old", [None, EC])
@pytest.mark.parametrize("how", ["reset", "power cut"])
def test_interrupted_generation_leaves_the_old_state(device: Device, flash: Path, old: int | None, how: str) -> None:
    job = new_job()
    spki = device.client.make_key(old, job) if old else b""
    before = flash.read_bytes()
    assert device.client.generate(RSA, new_job(), replace=True) == 1
    time.sleep(0.01)
    assert device.client.status()[0] == 1
    if how == "reset":
        device.reset()
    else:
        device.power_cycle()
    assert flash.read_bytes() == before
    assert device.client.status() == (0, 0)
    assert device.client.identify()["job"] == (job if old else b"")
    if old:
        verify(spki, device.client.prove(bytes(32), "pin"), proof_message("pin", bytes(32)))


@pytest.mark.parametrize("alg", [EC, RSA])
def test_same_job_same_key_and_replace_makes_another(device: Device, flash: Path, alg: int) -> None:
    client, job, next_job = device.client, new_job(), new_job()
    spki = client.make_key(alg, job)
    client = device.power_cycle()
    assert client.generate(alg, job) == 2
    assert client.generate(alg, job, replace=True) == 2
    assert client.public_key() == {"spki": spki, "job": job}
    with pytest.raises(Refused) as refusal:
        client.generate(alg, next_job, replace=False)
    assert (refusal.value.group, refusal.value.rc) == (PROVISION, OTHER_JOB)
    other = client.make_key(alg, next_job, replace=True)
    assert other != spki
    assert client.public_key() == {"spki": other, "job": next_job}
    assert set(flash.read_bytes()[0x1000:0x2000]) == {0xFF}, "the old key is still in its slot"


def test_keys_differ_between_devices_and_starts(device: Device) -> None:
    spkis = {device.client.make_key(EC, new_job(), replace=True) for _ in range(5)}
    for _ in range(3):
        device.power_cycle()
        spkis.add(device.client.make_key(EC, new_job(), replace=True))
    assert len(spkis) == 8
