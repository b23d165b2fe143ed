"""The firmware's client of the TCP service against the registry's own protocol code, over a real serial line."""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from registry.device_service.coap import Hello
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.handshake import RefusedHandshakeError
from registry.device_service.tcp.session import Session, SessionError
from tests.firmware import make_vectors
from tests.firmware.machine import DEVICE_ID, PRODUCT, Device, blank_flash, native_command, powered
from tests.firmware.rekeying import UNLOCK, Authority, payload, signed
from tests.firmware.signatures import EC, RSA, new_anchor, new_job
from tests.firmware.test_commands import refused
from tests.firmware.test_private_key_stays import PIECE, leaked
from tests.firmware.test_udp_tunnel import with_anchor_bit_flipped
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
from tests.firmware.wire import PROVISION, NoAnswerError, RefusedError
from tests.registry.device_service.seeded import seeded

TCP = json.loads((Path(__file__).parents[1] / "vectors" / "tcp_service.json").read_text())
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
    device = start("--clock-speed", "50")
    service = Service(unit.cloud, unit.pin, first=65_534)
    step = opened(device)
    carry(step, service)
    time.sleep(0.5)  # 25 s for the device
    for number in (65_535, 0, 1):
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


@pytest.mark.timeout(60)  # the vectors' key is searched for anew
def test_the_vectors_message_3_opens_the_session(native: Path, flash: Path) -> None:
    """With the vectors' device key and cloud key in flash, written by hand as docs/wire.md §6 has them."""
    (vector,) = [each for each in TCP["handshakes"] if each["device key"] == "large"]
    own, auth = seeded("large", 2048), new_anchor()["auth"]
    key = b"\2" + bytes(16) + own.p.to_bytes(128) + own.q.to_bytes(128)
    parts = (bytes.fromhex(vector["cloud spki"]), auth, b"cloud.example")
    anchor = b"".join(len(part).to_bytes(2) + part for part in parts) + b"\0" + (5683).to_bytes(2)
    image = bytearray(blank_flash())
    for at, kind, content in ((0x1000, 1, key), (0x3000, 2, anchor)):
        written = make_vectors.record(kind, 1, content)
        image[at : at + len(written)] = written
    flash.write_bytes(image)
    with powered(native_command(native, flash)) as device:
        assert device.client.public_key()["spki"].hex() == vector["device spki"]
        step = opened(device)
        assert len(step(bytes.fromhex(vector["nonce"]))["out"]) == 256
        frame = step(bytes.fromhex(vector["message 3"]))["out"]
    (message,) = Session(Credentials(bytes.fromhex(vector["credentials"]))).feed(frame)
    assert message[:6] == hello(vector["first id"])


def test_neither_key_nor_credentials_cross_the_line(device: Device, unit: Unit) -> None:
    service, step, said = Service(unit.cloud, unit.pin), opened(device), []

    def listen(data: bytes) -> dict[str, Any]:
        answer = step(data)
        said.append(answer["out"])
        return answer

    carry(listen, service)
    assert service.accepted is not None
    heard, primes = b"".join(said), unit.image[0x1000 + 16 + 17 : 0x1000 + 16 + 17 + 256]
    for secret in (primes, service.accepted.credentials.raw):
        assert leaked(heard, secret, unit.pin.spki) == []
        assert leaked(heard + secret[:PIECE], secret, unit.pin.spki) == [secret[:PIECE]], "the control"


def test_a_recording_of_the_service_is_taken(device: Device, unit: Unit) -> None:
    """The protocol's limit (docs/wire.md §4.9): nothing of the device's is in what the service signs.

    So what a device says of a session is no evidence, and the handshake report is the service's.
    """
    service, step, said = Service(unit.cloud, unit.pin), opened(device), []

    def listen(data: bytes) -> dict[str, Any]:
        said.append(data)
        return step(data)

    assert carry(listen, service)["st"] == ESTABLISHED
    device.power_cycle()
    step = opened(device)
    assert [step(data)["st"] for data in said][-1] == ESTABLISHED


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


def test_one_bit_of_the_anchor_is_another(device: Device, unit: Unit, flash: Path) -> None:
    """The device encrypts to what its flash has, and the service cannot read it; with the bit as it was it can."""
    for right in (True, False):
        if not right:
            device.power_off()
            with_anchor_bit_flipped(flash)
            device.power_on()
        assert (device.client.read_anchor()["cloud"] == spki_of(unit.cloud)) is right
        service, step = Service(unit.cloud, unit.pin), opened(device)
        if right:
            assert carry(step, service)["st"] == ESTABLISHED
            continue
        with pytest.raises(RefusedHandshakeError, match="not-opened"):
            carry(step, service)
        assert service.accepted is None and device.client.tunnel(CLOSE) == NOTHING


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


def was_busy(device: Device, op: int) -> bool:
    """Whether the tunnel is put off while a key is made; a lucky key is there before we ask."""
    device.client.generate(RSA, new_job(), replace=True)
    busy = False
    try:
        device.client.tunnel(op)
    except RefusedError as error:
        busy = (error.group, error.rc) == (PROVISION, BUSY)
        assert busy
    device.client.wait_for_key()
    return busy


def test_while_a_key_is_made_it_is_put_off(device: Device) -> None:
    for op in (OPEN, STEP, CLOSE):
        assert any(was_busy(device, op) for _ in range(10)), "ten keys were made before we asked"
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


def test_without_random_numbers_there_is_no_tunnel(start: Callable[..., Device]) -> None:
    with refused(RNG_FAILED):
        start("--noise", "stuck").client.tunnel(OPEN)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_message_that_does_not_come_ends_it(start: Callable[..., Device], unit: Unit, stage: int) -> None:
    device = start("--clock-speed", "50")  # 20 s are 0.4 s
    service = Mute(unit.cloud, unit.pin) if stage == 2 else Reticent(unit.cloud, unit.pin)
    step = opened(device)
    if stage == 1:
        step(service.nonce)
    elif stage:
        carry(step, service)
    assert step(b"")["st"] == RUNNING
    time.sleep(0.41)
    assert step(b"") == {**NOTHING, "st": FAILED, "why": TIMED_OUT}


def mangled(rng: random.Random, data: bytes) -> bytes:
    """With some bytes other than they were, gone, or there twice."""
    changed = bytearray(data)
    for _ in range(rng.randint(0, 2)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(3):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randint(1, 20)]
            case _:
                changed[at:at] = changed[at : at + rng.randint(1, 20)] or b"\xff"
    return bytes(changed)


def mangled_session(rng: random.Random, step: Step, service: Service) -> None:
    """A session until either side gives up, with what the service says mangled now and then."""
    data = service.nonce
    with contextlib.suppress(RefusedHandshakeError, SessionError):
        for _ in range(6):
            data = mangled(rng, data) if rng.random() < 0.4 else data
            cut = rng.choice((1, 7, 640)) if len(data) < 40 else 640
            for at in range(0, len(data), cut):
                answer = step(data[at : at + cut])
                service.waiting = service.waiting if answer["st"] in {RUNNING, ESTABLISHED} else b""
                data = service.take(answer["out"]) if answer["out"] else data
            if answer["st"] == ESTABLISHED:
                data = service.seal(rng.choice((empty(0x40, service.ids.take()), rng.randbytes(rng.randint(1, 1024)))))


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


def mangled_sessions(device: Device, unit: Unit, seconds: float, seed: int) -> int:
    """How many sessions were mangled; AssertionError if the device does not answer after one."""
    rng, played, until = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        mangled_session(rng, opened(device), Service(unit.cloud, unit.pin))
        played += 1
    assert carry(opened(device), Service(unit.cloud, unit.pin))["st"] == ESTABLISHED
    return played


@pytest.mark.timeout(60)
def test_mangled_sessions_do_no_harm(strict: Device, unit: Unit) -> None:
    assert mangled_sessions(strict, unit, 2.0, seed=51) > 10


def test_the_sanitised_build_finds_a_frame_without_limit(
    overrunning: Path, flash: Path, unit: Unit, capfd: pytest.CaptureFixture[str]
) -> None:
    with powered(native_command(overrunning, flash)) as device:
        step = opened(device)
        carry(step, Mute(unit.cloud, unit.pin))
        step(b"\xff\xf0")
        step(bytes(640))
        with pytest.raises(NoAnswerError):
            step(bytes(640))
    assert "AddressSanitizer: global-buffer-overflow" in capfd.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_mangled_sessions_do_no_harm_for_long(strict: Device, unit: Unit, record_property) -> None:
    played = mangled_sessions(strict, unit, 300.0, seed=52)
    record_property("figures", f"tunnel, sanitised build: {played} mangled TCP sessions in 300 s, no finding")
