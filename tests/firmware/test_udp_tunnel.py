"""The firmware's client of the UDP service against the registry's own DTLS sessions, in both of its builds."""

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.device_service.coap import Hello, Kind
from registry.device_service.udp.gnutls.cookies import Cookies
from registry.device_service.udp.gnutls.endpoint import Presented
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import Suite
from tests.firmware import make_vectors
from tests.firmware.machine import DEVICE_ID, PRODUCT, Device, blank_flash, native_command, powered
from tests.firmware.signatures import EC, RSA, new_anchor, new_job
from tests.firmware.test_commands import refused
from tests.firmware.test_private_key_stays import PIECE, leaked
from tests.firmware.tunnelling import (
    CLOSE,
    CLOSED,
    ESTABLISHED,
    FAILED,
    NOT_OPENED,
    NOT_TRUSTED,
    OPEN,
    REFUSED,
    RUNNING,
    STEP,
    TIMED_OUT,
    Step,
    empty,
    hello,
)
from tests.firmware.udp_tunnelling import (
    ALTERED,
    KEY_EXCHANGE,
    LIBRARY,
    ODD,
    RAW_ONLY,
    Cloud,
    Mute,
    Service,
    carry,
    changing,
    flipped,
    play_odd,
)
from tests.registry.device_service.dtls_client import spki_of
from tests.registry.device_service.service_end import new_key
from trust.identity import DeviceId

NOTHING = {"st": CLOSED, "out": b"", "more": False, "why": 0}
FORMS = {"native": Presented.RAW_KEY, "certified": Presented.CERTIFICATE}
OTHER_ALG, RNG_FAILED = 12, 7
ALERT = 15
"""Bytes of a datagram with an alert, before there are keys."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A flash image with an EC key and an anchor of the UDP service, and who is at the other end."""

    image: bytes
    job: bytes
    spki: bytes
    cloud: Cloud


@pytest.fixture(scope="session")
def unit(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    flash, job, cloud = tmp_path_factory.mktemp("unit") / "flash.bin", new_job(), Cloud()
    flash.write_bytes(blank_flash())
    with powered(native_command(native, flash)) as device:
        spki = device.client.make_key(EC, job)
        device.client.write_anchor({**new_anchor(), "cloud": cloud.spki})
    return Unit(flash.read_bytes(), job, spki, cloud)


@pytest.fixture
def flash(tmp_path: Path, unit: Unit) -> Path:
    path = tmp_path / "flash.bin"
    path.write_bytes(unit.image)
    return path


@pytest.fixture(params=FORMS)
def either(request: pytest.FixtureRequest, flash: Path) -> Iterator[Device]:
    """A device that shows a raw key, and one that shows a certificate."""
    with powered(native_command(request.getfixturevalue(request.param), flash)) as device:
        yield device


def opened(device: Device) -> Step:
    """The tunnel's steps, from its beginning. The device has something to say: over UDP it speaks first."""
    assert device.client.tunnel(OPEN) == {**NOTHING, "st": RUNNING, "more": True}
    return lambda data: device.client.tunnel(STEP, data)


def met(device: Device, unit: Unit) -> Service:
    """A service that the device has come to, established."""
    service = Service(unit.cloud, unit.spki)
    assert carry(opened(device), service) == {**NOTHING, "st": ESTABLISHED}
    return service


# ---- both prove themselves


@pytest.mark.timeout(60)  # the first one compiles
@pytest.mark.parametrize("cookie", [False, True], ids=["without cookie", "with cookie"])
@pytest.mark.parametrize("mtu", [640, 256])
def test_device_and_service_prove_themselves_to_each_other(
    request: pytest.FixtureRequest, either: Device, unit: Unit, mtu: int, cookie: bool
) -> None:
    service = Service(unit.cloud, unit.spki, mtu=mtu, cookies=Cookies(LIBRARY) if cookie else None)
    assert carry(opened(either), service) == {**NOTHING, "st": ESTABLISHED}
    assert service.session is not None
    peer = service.session.peer
    assert peer is not None
    assert (peer.device_id.raw, peer.spki, peer.suite) == (DEVICE_ID, unit.spki, Suite.CCM_8)
    assert peer.presented is FORMS[request.node.callspec.params["either"]]
    (said,) = service.heard
    assert (said.kind, said.wants_answer) == (Kind.HELLO, True)
    assert Hello.parse(said.payload) == Hello(
        product_id=PRODUCT, product_version=1, flags=0, platform_id=0, device_id=DeviceId(DEVICE_ID)
    )
    assert said.payload[22:] == bytes.fromhex("0001 0400 00000000 0000")


def test_datagrams_go_by_in_the_sizes_of_the_page(device: Device, unit: Unit) -> None:
    sizes = []
    step = opened(device)

    def listen(data: bytes) -> dict[str, Any]:
        answer = step(data)
        sizes.append((len(data), len(answer["out"])))
        return answer

    carry(listen, Service(unit.cloud, unit.spki))
    up, down = [sent for _, sent in sizes], [came for came, _ in sizes]
    assert (up[0], up[2:], down[0], down[2:]) == (109, [68, 0, 0], 0, [67, 33, 35])
    assert up[1] in range(370, 380) and down[1] in range(460, 472), "a signature has 70 to 72 bytes, seldom less"


def hello_of(step: Step) -> tuple[bytes, bytes, dict[int, bytes]]:
    """What the device begins with: session id, suites, extensions."""
    body = memoryview(step(b"")["out"])[25:]
    assert body[:2] == b"\xfe\xfd"
    at, parts = 34, []
    for width in (1, 1, 2, 1, 2):  # session id, cookie, suites, compression, extensions
        size = int.from_bytes(body[at : at + width])
        parts.append(bytes(body[at + width : at + width + size]))
        at += width + size
    found, rest = {}, parts[4]
    while rest:
        end = 4 + int.from_bytes(rest[2:4])
        found[int.from_bytes(rest[:2])], rest = rest[4:end], rest[end:]
    return parts[0], parts[2], found


def test_it_offers_one_suite_and_nothing_to_resume(either: Device, request: pytest.FixtureRequest) -> None:
    session, suites, extensions = hello_of(opened(either))
    assert (session, suites) == (b"", bytes.fromhex("c0ae 00ff")), "CCM-8, and that it does not renegotiate"
    raw = {19: b"\1\2", 20: b"\1\2"} if request.node.callspec.params["either"] == "native" else {}
    assert extensions == {
        10: b"\0\2\0\x17", 11: b"\1\0", 13: b"\0\2\4\3", 23: b"", **raw,
    }, "no ticket (35)"  # fmt: skip


def test_a_service_that_wants_another_handshake_gets_none(either: Device, unit: Unit) -> None:
    service = met(either, unit)
    assert service.session is not None
    ask = ctypes.CDLL("libgnutls.so.30").gnutls_rehandshake
    assert ask(service.session._endpoint._handle) in {0, -28}, "sent, and perhaps waiting for what comes of it"
    (wish,) = service.session.outgoing()
    answer = either.client.tunnel(STEP, wish)
    assert answer["st"] == ESTABLISHED and len(answer["out"]) in {0, 31}, "an alert that it does not, at most"
    assert either.client.tunnel(STEP, service.sealed(empty(0x40, 1)))["out"]


def test_no_two_handshakes_have_anything_in_common(device: Device, unit: Unit) -> None:
    seen: list[bytes] = []
    for _ in range(3):
        service = met(device, unit)
        assert service.session is not None and service.session.peer is not None
        exchanged = service.session.peer.exchanged
        seen += [exchanged.client_random, exchanged.client_point, exchanged.signature[-32:], exchanged.transcript]
        device.power_cycle()
    assert len(set(seen)) == 12


def test_an_established_session_answers_pings_and_waits(start: Callable[..., Device], unit: Unit) -> None:
    device = start("--clock-speed", "50")
    service = met(device, unit)
    time.sleep(0.5)  # 25 s for the device
    for number in (7, 7, 3):
        assert carry(lambda data: device.client.tunnel(STEP, data), service, [service.sealed(empty(0x40, number))])
        assert (service.heard[-1].kind, service.heard[-1].number) == (Kind.ACKNOWLEDGEMENT, number)
    assert device.client.tunnel(STEP) == {**NOTHING, "st": ESTABLISHED}


@pytest.mark.parametrize("kind", [0x40, 0x50])
def test_the_services_own_hello_is_an_answer_too(device: Device, unit: Unit, kind: int) -> None:
    service, step = Mute(unit.cloud, unit.spki), opened(device)
    assert carry(step, service)["st"] == RUNNING
    assert carry(step, service, [service.sealed(hello(9, kind))])["st"] == ESTABLISHED
    assert [each.number for each in service.heard[1:]] == ([9] if kind == 0x40 else [])
    assert carry(step, service, [service.sealed(empty(0x60, service.heard[0].number))])["st"] == ESTABLISHED


def test_neither_key_nor_what_is_agreed_on_crosses_the_line(device: Device, unit: Unit) -> None:
    step, said = opened(device), []

    def listen(data: bytes) -> dict[str, Any]:
        answer = step(data)
        said.append(answer["out"])
        return answer

    service = Service(unit.cloud, unit.spki)
    carry(listen, service)
    heard, scalar = b"".join(said), unit.image[0x1000 + 16 + 17 : 0x1000 + 16 + 17 + 32]
    assert int.from_bytes(scalar) and leaked(heard, scalar, unit.spki) == []
    assert leaked(heard + scalar[:PIECE], scalar, unit.spki) == [scalar[:PIECE]], "the control"
    assert service.heard[0].payload not in heard


# ---- and nobody else


def failed(device: Device, service: Service, why: int, link: Any = None) -> Service:
    """It ends in that error, says nothing more, and can be opened again."""
    step = opened(device)
    answer = carry(step, service, **({} if link is None else {"link": link}))
    assert (answer["st"], answer["why"]) == (FAILED, why)
    assert len(answer["out"]) in {0, ALERT}, "whatever it did not like, it has signed nothing"
    assert step(b"x" * 40) == {**NOTHING, "st": FAILED, "why": why}
    return service


def refused_by_device(service: Service) -> bool:
    assert service.session is not None and service.session.peer is None and service.refusal is not None
    return service.refusal.reason is Reason.REFUSED_BY_DEVICE


def test_another_cloud_key_is_not_trusted(either: Device, unit: Unit) -> None:
    assert refused_by_device(failed(either, Service(Cloud(), unit.spki), NOT_TRUSTED))
    met(either, unit)


def with_anchor_bit_flipped(flash: Path) -> None:
    """One bit of the cloud key's point in flash, and its record made good again, as no wear of a chip would."""
    image = bytearray(flash.read_bytes())
    size = int.from_bytes(image[0x300C:0x3010])
    payload = bytearray(image[0x3010 : 0x3010 + size])
    payload[60] ^= 1
    written = make_vectors.record(2, 1, bytes(payload))
    image[0x3000 : 0x3000 + len(written)] = written
    flash.write_bytes(image)


def test_one_bit_of_the_anchor_is_another(either: Device, unit: Unit, flash: Path) -> None:
    either.power_off()
    with_anchor_bit_flipped(flash)
    client = either.power_on()
    assert client.read_anchor()["cloud"] != unit.cloud.spki
    assert refused_by_device(failed(either, Service(unit.cloud, unit.spki), NOT_TRUSTED))


def test_the_pinned_key_without_its_private_half_is_not_trusted(either: Device, unit: Unit) -> None:
    liar = Cloud(unit.cloud.signer.key)
    liar.signer.key = new_key()
    assert refused_by_device(failed(either, Service(liar, unit.spki), NOT_TRUSTED))


@pytest.mark.parametrize("at", [-1, 40, 73], ids=["one bit off", "over another point", "no DER"])
def test_a_signature_that_does_not_hold_is_not_trusted(either: Device, unit: Unit, at: int) -> None:
    """Whatever of it somebody changes on the way, also what it is over."""
    service = Service(unit.cloud, unit.spki)
    assert refused_by_device(failed(either, service, NOT_TRUSTED, changing(KEY_EXCHANGE, flipped(at))))


@pytest.mark.parametrize("pinned", [spki_of(new_key())], ids=["another device's key"])
def test_a_device_that_is_not_pinned_is_told_so(either: Device, unit: Unit, pinned: bytes) -> None:
    service = failed(either, Service(unit.cloud, pinned), REFUSED)
    assert service.refusal is not None and service.refusal.reason is Reason.NOT_PINNED


@pytest.mark.parametrize("name", ALTERED)
def test_words_that_were_changed_end_it(either: Device, unit: Unit, name: str) -> None:
    link, why = ALTERED[name]
    assert refused_by_device(failed(either, Service(unit.cloud, unit.spki), why, link))


@pytest.mark.parametrize("name", RAW_ONLY)
def test_a_service_without_raw_keys_is_not_spoken_with(device: Device, unit: Unit, name: str) -> None:
    link, why = RAW_ONLY[name]
    assert refused_by_device(failed(device, Service(unit.cloud, unit.spki), why, link))


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_odd_ends_the_session(either: Device, unit: Unit, name: str) -> None:
    answer, why, service = play_odd(opened(either), unit.cloud, unit.spki, name)
    assert (answer["st"], answer["why"]) == (FAILED, why)
    service.take(answer["out"])
    assert service.refusal is not None and service.refusal.reason is Reason.CLOSED, "the service is told"
    met(either, unit)


def test_a_service_that_closes_ends_it(either: Device, unit: Unit) -> None:
    service = met(either, unit)
    assert service.session is not None
    service.session.close()
    (goodbye,) = service.session.outgoing()
    assert either.client.tunnel(STEP, goodbye)["why"] == REFUSED


def test_who_takes_any_cloud_key_is_found(loose: Path, flash: Path, unit: Unit) -> None:
    with powered(native_command(loose, flash)) as device:
        assert carry(opened(device), Service(Cloud(), unit.spki))["st"] == ESTABLISHED


# ---- what a line does


def played_again(device: Device, unit: Unit) -> int:
    """How often the device answers one record."""
    service = met(device, unit)
    ping = service.sealed(empty(0x40, 1))
    return sum(len(device.client.tunnel(STEP, ping)["out"]) > 0 for _ in range(3))


def test_a_replayed_record_is_nothing(either: Device, loose: Path, flash: Path, unit: Unit) -> None:
    assert played_again(either, unit) == 1
    either.power_off()
    with powered(native_command(loose, flash)) as device:
        assert played_again(device, unit) == 3, "the control"


def test_a_replayed_handshake_is_nothing(device: Device, unit: Unit) -> None:
    """What the service once said to this device does not go with a new hello."""
    said: list[bytes] = []
    carry(opened(device), Service(unit.cloud, unit.spki), link=lambda each, way: said.append(each) or [each])
    step = opened(device)
    answers = [step(each) for each in [b"", *said[1::2]]]
    assert (answers[1]["st"], answers[1]["why"]) == (FAILED, NOT_TRUSTED)


@pytest.mark.parametrize("cut", [1, 14, -1])
def test_a_record_that_is_cut_off_is_nothing(device: Device, unit: Unit, cut: int) -> None:
    service = met(device, unit)
    ping = service.sealed(empty(0x40, 1))
    for part in (ping[:cut], bytes(640), b"\x17\xfe\xff" + ping[3:], ping[:-1] + bytes([ping[-1] ^ 1])):
        assert device.client.tunnel(STEP, part) == {**NOTHING, "st": ESTABLISHED}
    assert device.client.tunnel(STEP, ping)["out"]
    step = opened(device)
    assert carry(step, Service(unit.cloud, unit.spki), link=lambda each, way: [each[:cut], each])["st"] == ESTABLISHED


def test_a_last_word_that_does_not_open_ends_it(device: Device, unit: Unit) -> None:
    def spoil(datagram: bytes, way: str) -> list[bytes]:
        spoiled = way == "down" and datagram[0] == 20
        return [datagram[:-1] + bytes([datagram[-1] ^ 1])] if spoiled else [datagram]

    failed(device, Service(unit.cloud, unit.spki), NOT_OPENED, spoil)


def patiently(step: Step, service: Service, lost: int) -> dict[str, Any]:
    """As `carry`, on a line that loses one datagram, until both are through or the device has failed."""
    count, down, until = 0, [], time.monotonic() + 10
    answer = step(b"")
    while time.monotonic() < until and answer["st"] == RUNNING:
        if answer["out"]:
            count += 1
            down += service.take(answer["out"]) if count - 1 != lost else []
        if down:
            count += 1
        datagram = down.pop(0) if down else b""
        if not (datagram or answer["more"]):
            time.sleep(0.005)
            down += service.stepped(lambda session: session.tick()) if service.session else []
        answer = step(datagram if count - 1 != lost else b"")
    return answer


@pytest.mark.parametrize("lost", range(7))
def test_whichever_datagram_is_lost_it_comes_through(start: Callable[..., Device], unit: Unit, lost: int) -> None:
    device = start("--clock-speed", "20")
    assert patiently(opened(device), Service(unit.cloud, unit.spki), lost)["st"] == ESTABLISHED


def test_a_service_that_does_not_answer_is_given_up(start: Callable[..., Device], unit: Unit) -> None:
    """Its hello goes out at 0, 1, 3 and 7 s, and 15 s after the first it is over."""
    device = start("--clock-speed", "20")
    step, begun, said = opened(device), time.monotonic(), []
    answer = step(b"")
    while answer["st"] == RUNNING:
        said += [20 * (time.monotonic() - begun)] if answer["out"] else []
        time.sleep(0.005)
        answer = step(b"")
    took = 20 * (time.monotonic() - begun)
    assert (answer["st"], answer["why"], len(said)) == (FAILED, TIMED_OUT, 4)
    assert 15 <= took < 20 and all(at >= wanted for at, wanted in zip(said, (0, 1, 3, 7), strict=True))


def test_a_hello_without_an_answer_is_said_again_and_then_given_up(start: Callable[..., Device], unit: Unit) -> None:
    device = start("--clock-speed", "20")
    step, service = opened(device), Mute(unit.cloud, unit.spki)
    answer = carry(step, service)
    while answer["st"] == RUNNING:
        time.sleep(0.005)
        answer = step(b"")
        service.take(answer["out"])
    assert (answer["why"], len(service.heard)) == (TIMED_OUT, 4)
    assert {each.number for each in service.heard} == {service.heard[0].number}


def test_what_is_sent_again_and_what_is_new_go_one_after_the_other(start: Callable[..., Device], unit: Unit) -> None:
    device = start("--clock-speed", "50")
    service, step = Service(unit.cloud, unit.spki), opened(device)
    flight = service.take(step(b"")["out"])
    time.sleep(0.03)
    first = step(flight[0])
    assert (len(first["out"]), first["more"]) == (109, True)
    assert carry(step, service, [b""])["st"] == ESTABLISHED


# ---- a tunnel as any other


def test_what_changes_key_or_anchor_drops_it(device: Device, unit: Unit) -> None:
    client = device.client
    met(device, unit)
    client.write_anchor(client.read_anchor())
    assert client.tunnel(STEP) == NOTHING
    met(device, unit)
    client.make_key(EC, new_job(), replace=True)
    assert client.tunnel(STEP) == NOTHING
    client.make_key(RSA, new_job(), replace=True)
    with refused(OTHER_ALG):
        client.tunnel(OPEN)


def test_a_power_cut_or_close_ends_it_without_a_trace(device: Device, unit: Unit, flash: Path) -> None:
    for cut in (device.power_cycle, device.reset, lambda: device.client.tunnel(CLOSE)):
        service = met(device, unit)
        cut()
        assert device.client.tunnel(STEP, service.sealed(empty(0x40, 1))) == NOTHING
    device.client.lock(unit.job)
    met(device, unit)
    assert flash.read_bytes()[:0x5000] == unit.image[:0x5000]


def test_without_random_numbers_there_is_no_tunnel(start: Callable[..., Device]) -> None:
    with refused(RNG_FAILED):
        start("--noise", "stuck").client.tunnel(OPEN)
