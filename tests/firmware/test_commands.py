"""What the vectors cannot hold: signatures, the report, the lock over a power cut, the board's truths, a faulty flash."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from smp.os_management import EchoWriteRequest
from smp.packet import encode

from tests.firmware.machine import DEVICE_ID, FACTORY, PRODUCT, Device, factory_page, native_command
from tests.firmware.signatures import (
    EC,
    RSA,
    new_anchor,
    new_job,
    new_spki,
    nonce_point,
    proof_message,
    report_body,
    verify,
)
from tests.firmware.wire import OS, PROVISION, READ, WRITE, RefusedError

INVALID, LOCKED, NO_KEY, OTHER_JOB, FLASH_FAILED = 2, 4, 5, 6, 10


def refused(rc: int, group: int = PROVISION) -> pytest.RaisesExc[RefusedError]:
    return pytest.RaisesExc(RefusedError, check=lambda error: (error.group, error.rc) == (group, rc))


def test_identify_tells_the_truth(device: Device, native: Path) -> None:
    assert device.client.identify() == {
        "v": 1, "id": DEVICE_ID, "prod": PRODUCT, "hw": "linux-native", "fw": "keystation-reference 1.3.0",
        "img": sha256(native.read_bytes()).digest(), "key": 0, "job": b"", "anc": False, "rng": 0, "lock": 0,
        "dbg": 0, "rdp": 0, "ksc": 0, "emu": True,
    }  # fmt: skip
    assert device.client.call(READ, OS, 7, format="s v") == {"output": "keystation-reference 1.3.0 linux-native"}


@pytest.mark.parametrize("alg", [EC, RSA])
def test_key_proof_report_and_lock(device: Device, native: Path, alg: int) -> None:
    client, job, challenge, anchor = device.client, new_job(), os.urandom(32), new_anchor()
    spki = client.make_key(alg, job)
    assert client.public_key() == {"spki": spki, "job": job}
    for context in ("pin", "verify", "c" * 32):
        verify(spki, client.prove(challenge, context), proof_message(context, challenge))
    with pytest.raises(InvalidSignature):  # a proof in one context is none in another
        verify(spki, client.prove(challenge, "pin"), proof_message("verify", challenge))

    image = sha256(native.read_bytes()).digest()
    body, signature = client.report(challenge)
    assert body == report_body(spki, job, None, image, lock=0)
    verify(spki, signature, b"device-report-v1\0" + challenge + body)

    client.write_anchor(anchor)
    client.lock(job)
    client = device.power_cycle()
    body, signature = client.report(challenge)
    assert body == report_body(spki, job, anchor, image, lock=1)
    verify(spki, signature, b"device-report-v1\0" + challenge + body)
    found = client.identify()
    assert (found["key"], found["job"], found["anc"], found["lock"]) == (alg, job, True, 1)


def test_no_two_ecdsa_signatures_share_a_nonce(device: Device) -> None:
    device.client.make_key(EC, new_job())
    points = {nonce_point(device.client.prove(bytes(32), "pin")) for _ in range(20)}
    assert len(points) == 20


def test_a_lock_closes_writes_and_keeps_reads_open(device: Device) -> None:
    client, job, anchor = device.client, new_job(), new_anchor()
    spki = client.make_key(EC, job)
    client.write_anchor(anchor)
    client.lock(job)
    for client in (device.client, device.power_cycle()):
        with refused(LOCKED):
            client.generate(EC, new_job(), replace=True)
        with refused(LOCKED):
            client.write_anchor(new_anchor())
        assert client.public_key()["spki"] == spki
        assert client.read_anchor() == anchor
        verify(spki, client.prove(bytes(32), "verify"), proof_message("verify", bytes(32)))
        assert client.echo("open") == "open"
    device.reset()
    assert device.client.identify()["lock"] == 1


def test_read_anchor_asks_the_chip_and_not_a_copy(device: Device, flash: Path) -> None:
    device.client.write_anchor(new_anchor())
    with flash.open("r+b") as file:  # behind the firmware's back
        file.seek(0x3000)
        file.write(bytes(16))
    with refused(8):
        device.client.read_anchor()
    assert device.client.identify()["anc"] is False


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"\xff" * 23, "no factory page"),
        (factory_page()[:-1] + b"\0", "CRC-32"),
        (b"FACT\2" + factory_page()[5:], "unknown version"),
    ],
)
def test_without_a_factory_page_it_is_no_device(
    start: Callable[..., Device], flash: Path, page: bytes, reason: str
) -> None:
    with flash.open("r+b") as file:
        file.seek(FACTORY)
        file.write(page)
    client = start().client
    for op, command in ((READ, 0), (WRITE, 1), (READ, 2), (WRITE, 7), (WRITE, 9), (READ, 77)):
        with refused(INVALID):
            client.call(op, PROVISION, command)
    assert reason in client.call(READ, OS, 7)["output"]


def test_a_worn_out_flash_is_reported_and_the_old_anchor_holds(start: Callable[..., Device]) -> None:
    anchor, job = new_anchor(), new_job()
    first = start()
    first.client.write_anchor(anchor)
    first.power_off()
    client = start("--flash-stuck", "0x4020").client  # in slot B of the anchor
    with refused(FLASH_FAILED):
        client.write_anchor(new_anchor())
    assert client.read_anchor() == anchor
    client = start("--flash-stuck", "0x1010").client  # the algorithm, never 00, in slot A of the key
    assert client.generate(EC, job) == 1
    while client.status()[0] == 1:
        time.sleep(0.001)
    assert client.status()[0] == 3
    with refused(NO_KEY):
        client.public_key()


def test_rsa_keys_of_other_sizes_are_refused(device: Device) -> None:
    for bits in (1024, 2056, 3072):
        with refused(9):
            device.client.write_anchor({**new_anchor(), "svc": 0, "cloud": new_spki(RSA, bits)})
    device.client.write_anchor({**new_anchor(), "svc": 0, "cloud": new_spki(RSA, 2048)})


def test_boot_text_does_not_disturb(start: Callable[..., Device]) -> None:
    device = start("--boot-text")
    assert device.client.echo("x" * 300) == "x" * 300
    device.reset()
    assert device.client.identify()["key"] == 0


def test_another_implementation_of_smp_talks_to_it(device: Device) -> None:
    request = EchoWriteRequest(d="from another codec " * 9)
    for line in encode(request.BYTES):
        device.client.send_raw(line)
    assert device.client.receive().fields == {"r": request.d}


def test_it_ends_with_its_line(native: Path, flash: Path) -> None:
    done = subprocess.run(native_command(native, flash), stdin=subprocess.DEVNULL, timeout=5, check=False)
    assert done.returncode == 0


def test_it_never_outlives_its_parent(native: Path, flash: Path) -> None:
    read, write = os.pipe()
    script = (
        "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:], stdin=%d).pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script % read, *native_command(native, flash)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[read]) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.05)
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("size", [0, 1 << 19])
def test_a_flash_file_of_the_wrong_size_is_refused(native: Path, tmp_path: Path, size: int) -> None:
    flash = tmp_path / "small.bin"
    flash.write_bytes(bytes(size))
    done = subprocess.run(
        native_command(native, flash), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "1048576 bytes" in done.stderr
