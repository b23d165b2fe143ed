"""The firmware's client of the TCP service against the registry's own protocol code, over a real serial line."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from registry.device_service.coap import Hello
from registry.device_service.tcp.handshake import RefusedHandshakeError
from tests.firmware.machine import DEVICE_ID, PRODUCT, Device, blank_flash, native_command, powered
from tests.firmware.rekeying import UNLOCK, Authority, payload, signed
from tests.firmware.signatures import EC, RSA, new_anchor, new_job
from tests.firmware.test_commands import refused
from tests.firmware.tunnelling import (
    CLOSE,
    CLOSED,
    ESTABLISHED,
    FAILED,
    IDS,
    NOT_TRUSTED,
    ODD,
    OPEN,
    RUNNING,
    STEP,
    TIMED_OUT,
    UNTRUSTED,
    Conversing,
    Mute,
    Pin,
    Reticent,
    Service,
    Step,
    believed,
    carry,
    empty,
    hello,
    new_rsa,
    play_odd,
    spki_of,
)

BUSY, OTHER_ALG, RNG_FAILED = 3, 12, 7
NOTHING = {"st": CLOSED, "out": b"", "more": False, "why": 0}


@dataclass(frozen=True, slots=True)
class Unit:
    """A flash image with an RSA key and an anchor of the TCP service, and who is at the other end."""

    image: bytes
    job: bytes
    pin: Pin
    cloud: rsa.RSAPrivateKey
    authority: Authority


@pytest.fixture(scope="session")
def unit(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    """Made once: what the tests do is about a tunnel."""
    flash, job, cloud, authority = tmp_path_factory.mktemp("unit") / "flash.bin", new_job(), new_rsa(), Authority()
    flash.write_bytes(blank_flash())
    with powered(native_command(native, flash)) as device:
        spki = device.client.make_key(RSA, job)
        device.client.write_anchor({**authority.anchor(), "cloud": spki_of(cloud), "svc": 0})
    return Unit(flash.read_bytes(), job, Pin(DEVICE_ID, spki), cloud, authority)


@pytest.fixture
def flash(tmp_path: Path, unit: Unit) -> Path:
    path = tmp_path / "flash.bin"
    path.write_bytes(unit.image)
    return path


def opened(device: Device) -> Step:
    """The tunnel's steps, from its beginning."""
    assert device.client.tunnel(OPEN) == {**NOTHING, "st": RUNNING}
    return lambda data: device.client.tunnel(STEP, data)


@pytest.mark.parametrize("cut", [640, 13, 1])
def test_device_and_service_prove_themselves_to_each_other(device: Device, unit: Unit, cut: int) -> None:
    service = Service(unit.cloud, unit.pin, first=65_535)
    assert carry(opened(device), service, cut=cut) == {**NOTHING, "st": ESTABLISHED}
    assert service.accepted is not None
    first = service.accepted.credentials.first_id
    said = bytes.fromhex("0001 0000 0000 00 00 0001 0400 00000000 0000")
    assert service.heard == [
        hello(first, payload=b"\xff" + PRODUCT.to_bytes(2) + said), empty(0x40, (first + 1) % 65_536),
    ]  # fmt: skip


def test_the_registrys_own_answers_are_understood(device: Device, unit: Unit) -> None:
    service = Conversing(unit.cloud, unit.pin)
    assert carry(opened(device), service)["st"] == ESTABLISHED
    said = Hello(product_id=PRODUCT, product_version=1, flags=0, platform_id=0, device_id=None)
    assert service.conversation.hello == said


def test_an_established_session_answers_pings_and_waits(start: Callable[..., Device], unit: Unit) -> None:
    device = start("--clock-speed", "1000")
    service = Service(unit.cloud, unit.pin, first=65_534)
    step = opened(device)
    carry(step, service)
    for number in (65_535, 0, 1):
        time.sleep(0.03)  # 30 s for the device
        carry(step, service, service.seal(empty(0x40, service.ids.take())))
        assert service.heard[-1] == empty(0x60, number)
    assert step(b"")["st"] == ESTABLISHED


def test_a_hello_with_a_payload_that_wants_an_acknowledgement(device: Device, unit: Unit) -> None:
    service, step = Mute(unit.cloud, unit.pin), opened(device)
    carry(step, service)
    said = hello(9, kind=0x40, payload=b"\xff" + bytes(1000))
    assert carry(step, service, service.seal(said))["st"] == ESTABLISHED
    assert service.heard[1] == empty(0x60, 9)


def test_bytes_go_by_in_the_sizes_of_the_page(device: Device, unit: Unit) -> None:
    service, sizes = Mute(unit.cloud, unit.pin), []
    step = opened(device)

    def listen(data: bytes) -> dict:
        answer = step(data)
        sizes.append((len(data), len(answer["out"])))
        return answer

    carry(listen, service)
    assert sizes == [(40, 256), (512, 34)]
    assert len(listen(service.seal(hello(1)))["out"]) == 18


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_odd_ends_the_session(device: Device, unit: Unit, name: str) -> None:
    step = opened(device)
    answer, error = play_odd(step, unit.cloud, unit.pin, name)
    assert answer == {**NOTHING, "st": FAILED, "why": error}
    assert step(bytes(40)) == answer, "it stays failed, and says nothing"
    assert carry(opened(device), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_a_service_that_is_not_the_anchors_is_not_trusted(device: Device, unit: Unit, kind: type[Service]) -> None:
    """All alike: which half of message 3 was wrong is nobody's business."""
    service = kind(unit.cloud, unit.pin)
    assert carry(opened(device), service) == {**NOTHING, "st": FAILED, "why": NOT_TRUSTED}
    assert service.heard == []


def test_another_device_key_is_pinned(device: Device, unit: Unit) -> None:
    service = Service(unit.cloud, Pin(DEVICE_ID, spki_of(new_rsa())))
    assert carry(opened(device), service) == {**NOTHING, "st": FAILED, "why": NOT_TRUSTED}


def test_another_cloud_key_is_in_the_anchor(device: Device, unit: Unit) -> None:
    """The real service cannot read message 2 and closes; the station tells the device."""
    service, step = Service(new_rsa(), unit.pin), opened(device)
    with pytest.raises(RefusedHandshakeError, match="not-opened"):
        carry(step, service)
    assert step(b"")["st"] == RUNNING
    assert device.client.tunnel(CLOSE) == NOTHING


def test_those_attacks_find_a_client_that_looks_at_nothing(loose: Path, flash: Path, unit: Unit) -> None:
    with powered(native_command(loose, flash)) as device:
        taken = {name for name in ODD if play_odd(opened(device), unit.cloud, unit.pin, name)[0]["st"] != FAILED}
        assert all(believed(opened(device), kind(unit.cloud, unit.pin)) for kind in UNTRUSTED)
    assert taken == IDS


def test_what_is_cut_short_waits_and_is_nothing(device: Device, unit: Unit) -> None:
    service, step = Reticent(unit.cloud, unit.pin), opened(device)
    out = b""
    for whole in (service.nonce, None):
        data = service.take(out) if whole is None else whole
        assert step(data[:-1]) == {**NOTHING, "st": RUNNING}
        out = step(data[-1:])["out"]
    assert len(out) == 34


def test_a_closed_tunnel_says_nothing_and_can_be_opened_again(device: Device, unit: Unit) -> None:
    service, step = Service(unit.cloud, unit.pin), opened(device)
    step(service.nonce)
    for _ in range(2):
        assert device.client.tunnel(CLOSE) == NOTHING
        assert step(bytes(512)) == NOTHING
    step = opened(device)
    step(service.nonce[:20])
    assert carry(opened(device), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED, "a second open drops the first"


def test_a_power_cut_ends_it_without_a_trace(device: Device, unit: Unit, flash: Path) -> None:
    for cut in (device.power_cycle, device.reset):
        service, step = Mute(unit.cloud, unit.pin), opened(device)
        carry(step, service)
        cut()
        assert device.client.tunnel(STEP, service.seal(hello(1))) == NOTHING
        assert carry(opened(device), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED
        cut()
    assert flash.read_bytes() == unit.image


def test_a_lock_does_not_close_it(device: Device, unit: Unit) -> None:
    service, step = Mute(unit.cloud, unit.pin), opened(device)
    carry(step, service)
    device.client.lock(unit.job)
    assert carry(step, service, service.seal(hello(1)))["st"] == ESTABLISHED
    assert carry(opened(device), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED


def test_what_changes_key_or_anchor_drops_it(device: Device, unit: Unit) -> None:
    step, client = opened(device), device.client
    client.generate(RSA, unit.job)
    assert step(b"")["st"] == RUNNING, "the key is there already"
    client.write_anchor(client.read_anchor())
    assert step(b"") == NOTHING
    client.lock(unit.job)
    step = opened(device)
    words = payload(UNLOCK, bytes(32), bytes(32))
    with refused(14):
        client.step(words, signed(unit.authority.private, words))
    assert step(b"")["st"] == RUNNING, "a word without a nonce changes nothing"
    unit.authority.unlock(client)
    assert step(b"") == NOTHING
    step = opened(device)
    client.make_key(EC, new_job(), replace=True)
    assert step(b"") == NOTHING
    with refused(OTHER_ALG):
        client.tunnel(OPEN)


def test_while_a_key_is_made_it_is_put_off(device: Device) -> None:
    device.client.generate(RSA, new_job(), replace=True)
    for op in (OPEN, STEP, CLOSE):
        with refused(BUSY):
            device.client.tunnel(op)
    device.client.wait_for_key()
    opened(device)


def test_a_refused_open_leaves_the_tunnel_alone(device: Device, unit: Unit, flash: Path) -> None:
    """Behind the firmware's back: no command can do this."""
    step = opened(device)
    with flash.open("r+b") as file:
        file.seek(0x3000)
        file.write(b"\xff" * 0x2000)
    with refused(8):
        device.client.tunnel(OPEN)
    assert step(b"")["st"] == RUNNING
    assert step(bytes(40)) == {**NOTHING, "st": FAILED, "why": 7}


def test_no_client_of_the_udp_service_yet(device: Device) -> None:
    device.client.write_anchor(new_anchor())
    with refused(8, None):
        device.client.tunnel(OPEN)


def test_without_random_numbers_there_is_no_tunnel(start: Callable[..., Device]) -> None:
    with refused(RNG_FAILED):
        start("--noise", "stuck").client.tunnel(OPEN)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_message_that_does_not_come_ends_it(start: Callable[..., Device], unit: Unit, stage: int) -> None:
    device = start("--clock-speed", "100")  # 20 s are 0.2 s
    service = Mute(unit.cloud, unit.pin) if stage == 2 else Reticent(unit.cloud, unit.pin)
    step = opened(device)
    if stage == 1:
        step(service.nonce)
    elif stage:
        carry(step, service)
    assert step(b"")["st"] == RUNNING
    time.sleep(0.21)
    assert step(b"") == {**NOTHING, "st": FAILED, "why": TIMED_OUT}


@pytest.fixture
def strict(sanitised: Path, flash: Path) -> Iterator[Device]:
    with powered(native_command(sanitised, flash)) as device:
        yield device


@pytest.mark.timeout(60)
def test_the_sanitised_build_takes_all_of_it(strict: Device, unit: Unit) -> None:
    """Every odd thing under AddressSanitizer and UBSan, at which the first finding ends the process."""
    for name in ODD:
        answer, error = play_odd(opened(strict), unit.cloud, unit.pin, name)
        assert answer["why"] == error, name
    for kind in UNTRUSTED:
        assert carry(opened(strict), kind(unit.cloud, unit.pin))["why"] == NOT_TRUSTED
    assert carry(opened(strict), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED
