"""The same firmware on the emulated microcontroller: real UART, SPI flash and RNG registers."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.machine import DEVICE_ID, Device, blank_flash, board_command, native_command, powered
from tests.firmware.rekeying import Authority
from tests.firmware.replay import boot_on, observe, prefixes, read_trace
from tests.firmware.signatures import EC, RSA, new_anchor, new_job, proof_message, verify
from tests.firmware.test_rekeying import ATTACKS, attempt
from tests.firmware.tunnelling import (
    ESTABLISHED,
    NOT_TRUSTED,
    OPEN,
    RUNNING,
    STEP,
    TIMED_OUT,
    Forged,
    Pin,
    Service,
    carry,
    empty,
    new_rsa,
    spki_of,
)
from tests.firmware.wire import OS, READ, NoAnswerError, lines, request

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(60)]


@pytest.fixture
def emulated(board: Path, flash: Path) -> Iterator[Device]:
    with powered(board_command(board, flash)) as device:
        yield device


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_identify_and_the_image_hash(emulated: Device, board: Path) -> None:
    found = emulated.client.identify()
    assert found["hw"] == "ast1030-evb (QEMU)"
    assert found["img"] == sha256(board.with_suffix(".bin").read_bytes()).digest()
    assert (found["rng"], found["emu"], found["dbg"], found["rdp"], found["ksc"]) == (0, True, 0, 0, 0)


@pytest.mark.parametrize("alg", [EC, RSA])
def test_keys_survive_a_power_cut(emulated: Device, alg: int) -> None:
    client, job, challenge, anchor = emulated.client, new_job(), os.urandom(32), new_anchor()
    assert client.generate(alg, job) == 1
    seen = client.wait_for_key(40)
    assert seen == sorted(seen)
    spki = client.public_key()["spki"]
    verify(spki, client.prove(challenge, "pin"), proof_message("pin", challenge))
    client.write_anchor(anchor)
    client.lock(job)
    client = emulated.power_cycle()
    verify(spki, client.prove(challenge, "verify"), proof_message("verify", challenge))
    assert observe(emulated).anchor == anchor
    emulated.reset()
    assert (client.identify()["lock"], client.public_key()["spki"]) == (1, spki)


def test_reset_while_a_key_is_made_leaves_nothing(emulated: Device, flash: Path) -> None:
    before = flash.read_bytes()
    for _ in range(10):
        assert emulated.client.generate(RSA, new_job()) == 1
        emulated.reset()
        assert emulated.client.status() == (0, 0)
        if emulated.client.identify()["key"] == 0:
            break
        emulated.power_off()  # that key was faster than the reset
        flash.write_bytes(before)
        emulated.power_on()
    assert flash.read_bytes() == before


def switch_on(qmp: Path) -> None:
    """Lets a QEMU that was started with -S run."""
    with socket.socket(socket.AF_UNIX) as control:
        for _ in range(500):
            with contextlib.suppress(OSError):
                control.connect(str(qmp))
                break
            time.sleep(0.01)
        control.settimeout(5)
        with control.makefile("rw") as channel:
            channel.readline()
            for command in ("qmp_capabilities", "cont"):
                channel.write(json.dumps({"execute": command}) + "\n")
                channel.flush()
                while "return" not in json.loads(channel.readline()):
                    pass


def first_silent_boot(board: Path, flash: Path, short_dir: Path, boots: int, patience_s: float) -> int | None:
    """The first of `boots` boots after which nothing answers; bytes wait in the UART at each first instruction."""
    qmp = short_dir / "qmp"
    device = Device([*board_command(board, flash), "-S", "-qmp", f"unix:{qmp},server=on,wait=off"])
    try:
        for boot in range(boots):
            device.start()
            os.write(device.slave, lines(request(READ, OS, 6, {})))
            switch_on(qmp)
            try:
                device.wait_ready(patience_s)
            except AssertionError:
                return boot
            device.power_off()
            qmp.unlink(missing_ok=True)
    finally:
        device.close()
    return None


def test_bytes_sent_before_the_uart_is_ready_do_not_wedge_it(board: Path, flash: Path, short_dir: Path) -> None:
    assert first_silent_boot(board, flash, short_dir, boots=10, patience_s=5.0) is None


def test_that_test_finds_a_uart_that_wedges(wedging_board: Path, flash: Path, short_dir: Path) -> None:
    """Two boots in five go silent, so thirty find it."""
    assert first_silent_boot(wedging_board, flash, short_dir, boots=30, patience_s=1.0) is not None


def test_an_idle_board_costs_nothing(emulated: Device) -> None:
    assert emulated.client.echo("x") == "x"
    assert emulated.process is not None
    before = cpu_ticks(emulated.process.pid)
    time.sleep(1.0)
    assert cpu_ticks(emulated.process.pid) - before <= 2


def test_a_key_write_takes_a_real_chips_time(emulated: Device) -> None:
    anchor = new_anchor()
    start = time.monotonic()
    emulated.client.write_anchor(anchor)
    assert time.monotonic() - start >= 0.045
    with pytest.raises(NoAnswerError):
        emulated.client.receive(0.05)


@pytest.mark.parametrize("name", ["key", "anchor"])
def test_every_tenth_prefix_boots_into_old_or_new(
    board: Path, native: Path, tmp_path: Path, name: str, record_property
) -> None:
    """The trace is the host build's: same code, same operations, which the final comparison of images proves."""
    flash, trace = tmp_path / "flash.bin", tmp_path / "trace.txt"
    flash.write_bytes(blank_flash())
    job, next_job, old_anchor, next_anchor = new_job(), new_job(), new_anchor("old"), new_anchor("new")
    with powered(native_command(native, flash)) as device:
        device.client.make_key(EC, job)
        device.client.write_anchor(old_anchor)
        old = observe(device)
    before = flash.read_bytes()
    with powered(native_command(native, flash, "--flash-trace", str(trace))) as device:
        if name == "key":
            device.client.make_key(EC, next_job, replace=True)
        else:
            device.client.write_anchor(next_anchor)
        new = observe(device)
    images = list(prefixes(before, read_trace(trace)))
    with powered(board_command(board, flash)) as device:
        assert boot_on(device, flash, images[-1]) == new
        states = [boot_on(device, flash, image) for image in images[::10]]
        if name == "anchor":  # the board's own write ends in the very same bytes
            assert boot_on(device, flash, before) == old
            device.client.write_anchor(next_anchor)
            assert flash.read_bytes() == images[-1]
    assert set(map(str, states)) <= {str(old), str(new)}
    assert states[0] == old
    record_property("figures", f"flash {name}, emulated board: {len(states)} of {len(images)} prefixes booted")


def test_a_locked_board_is_re_keyed(emulated: Device) -> None:
    authority, successor = Authority(), Authority()
    client = emulated.client
    old = authority.lock(client)
    new = authority.new_key(client)
    challenge = os.urandom(32)
    verify(new, client.prove_beside(challenge, "rekey"), proof_message("rekey", challenge))
    client = emulated.power_cycle()
    assert (client.public_key()["spki"], client.key_beside()["spki"]) == (old, new)
    authority.commit(client)
    authority.end_old_key(client)
    authority.new_anchor(client, successor.anchor())
    client = emulated.power_cycle()
    assert (client.public_key()["spki"], client.key_beside()["st"]) == (new, 0)
    successor.unlock(client)
    assert client.identify()["lock"] == 0


def test_the_boards_tunnel_comes_to_the_service(board: Path, native: Path, flash: Path, record_property) -> None:
    """The flash is made by the host build, whose records are the board's: an RSA key takes the board seconds."""
    cloud = new_rsa()
    with powered(native_command(native, flash)) as device:
        pin = Pin(DEVICE_ID, device.client.make_key(RSA, new_job()))
        device.client.write_anchor({**new_anchor(), "cloud": spki_of(cloud), "svc": 0})
    with powered(board_command(board, flash)) as device:

        def step(data: bytes) -> dict[str, Any]:
            return device.client.tunnel(STEP, data)

        begun, service = time.monotonic(), Service(cloud, pin)
        device.client.tunnel(OPEN)
        assert carry(step, service)["st"] == ESTABLISHED
        took = time.monotonic() - begun
        carry(step, service, service.seal(empty(0x40, service.ids.take())))
        assert service.heard[-1][0] == 0x60
        device.client.tunnel(OPEN)
        assert carry(step, Forged(cloud, pin))["why"] == NOT_TRUSTED
    record_property("figures", f"TCP handshake, emulated board: {took * 1000:.0f} ms")


@pytest.mark.soak
def test_the_board_gives_up_after_20_seconds(board: Path, native: Path, flash: Path) -> None:
    """By its own hardware timer, shortly before and after."""
    with powered(native_command(native, flash)) as device:
        device.client.make_key(RSA, new_job())
        device.client.write_anchor({**new_anchor(), "cloud": spki_of(new_rsa()), "svc": 0})
    with powered(board_command(board, flash)) as device:
        device.client.tunnel(OPEN)
        time.sleep(19)
        assert device.client.tunnel(STEP)["st"] == RUNNING
        time.sleep(1.5)
        assert device.client.tunnel(STEP)["why"] == TIMED_OUT


def test_the_board_takes_no_other_word(emulated: Device) -> None:
    authority = Authority()
    key = sha256(authority.lock(emulated.client)).digest()
    assert [attack.__name__ for attack in ATTACKS if attempt(emulated, authority, key, attack)] == []


def test_every_tenth_prefix_of_a_whole_re_key(board: Path, native: Path, tmp_path: Path, record_property) -> None:
    """New key, commit and end of the old key in one trace: four states, each once, and nothing between them."""
    flash, trace, authority = tmp_path / "flash.bin", tmp_path / "trace.txt", Authority()
    flash.write_bytes(blank_flash())
    with powered(native_command(native, flash)) as device:
        authority.lock(device.client)
    before = flash.read_bytes()
    with powered(native_command(native, flash, "--flash-trace", str(trace))) as device:
        wanted = [observe(device)]
        for step in (authority.new_key, authority.commit, authority.end_old_key):
            step(device.client)
            wanted.append(observe(device))
    images = list(prefixes(before, read_trace(trace)))
    with powered(board_command(board, flash)) as device:
        states = [boot_on(device, flash, image) for image in [*images[::10], images[-1]]]
    places = [wanted.index(state) for state in states]
    assert places == sorted(places)
    assert set(places) == {0, 1, 2, 3}
    record_property("figures", f"flash re-key, emulated board: {len(states)} of {len(images)} prefixes booted")
