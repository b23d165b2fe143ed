"""While a key is made: the line is served, progress never falls, and no reset or cut leaves half a key."""

import time
from pathlib import Path

import pytest

from tests.firmware.machine import Device
from tests.firmware.signatures import EC, RSA, new_job, proof_message, verify
from tests.firmware.wire import OS, PROVISION, READ, WRITE, Client, RefusedError

BUSY, OTHER_JOB = 3, 6
GENERAL_BUSY = 10


ATTEMPTS = 20  # an RSA key takes 10 to 500 ms here, at random: a test that needs a slow one tries again


def answers_while_running(client: Client) -> int:
    """Sends one of everything while a key is made; how many came surely before it was done, each of them busy in its form."""
    others = [(WRITE, OS, 0), (READ, OS, 6), (READ, OS, 7), (READ, PROVISION, 0), (WRITE, PROVISION, 1),
              (READ, PROVISION, 3), (WRITE, PROVISION, 9), (READ, PROVISION, 77), (READ, 64, 0)]  # fmt: skip
    for count, (op, group, command) in enumerate(others):
        answer = client.exchange(op, group, command, b"\xa0").fields
        if client.status()[0] != 1:
            return count
        own, general = {"err": {"group": PROVISION, "rc": BUSY}}, {"rc": GENERAL_BUSY}
        assert answer == (own if group == PROVISION else general), (group, command)
    return len(others)


def test_status_is_served_and_all_else_is_busy(device: Device) -> None:
    for _ in range(ATTEMPTS):
        assert device.client.generate(RSA, new_job(), replace=True) == 1
        busy = answers_while_running(device.client)
        device.client.wait_for_key()
        assert device.client.echo("free again") == "free again"
        if busy == 9:
            return
    pytest.fail("every key was there before all requests had been sent")


def test_progress_never_falls(device: Device) -> None:
    steps = 0
    for _ in range(ATTEMPTS):
        assert device.client.generate(RSA, new_job(), replace=True) == 1
        seen = device.client.wait_for_key()
        assert seen == sorted(seen)
        assert seen[-1] == 100
        steps = max(steps, len(set(seen)))
        if steps > 5:
            return
    pytest.fail(f"progress took {steps} steps at most")


@pytest.mark.parametrize("old", [None, EC])
@pytest.mark.parametrize("how", ["reset", "power cut"])
def test_interrupted_generation_leaves_the_old_state(device: Device, flash: Path, old: int | None, how: str) -> None:
    job, next_job = new_job(), new_job()
    spki = device.client.make_key(old, job) if old else b""
    before = flash.read_bytes()
    for _ in range(ATTEMPTS):
        assert device.client.generate(RSA, next_job, replace=True) == 1
        if how == "reset":
            device.reset()
        else:
            time.sleep(0.002)
            device.power_cycle()
        assert device.client.status() == (0, 0)
        if device.client.identify()["job"] != next_job:
            break
        device.power_off()  # the key was faster than the interruption
        flash.write_bytes(before)
        device.power_on()
    assert flash.read_bytes() == before
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
    with pytest.raises(RefusedError) as refusal:
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
