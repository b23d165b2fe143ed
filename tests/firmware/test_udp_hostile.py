"""The UDP client under AddressSanitizer and UBSan, at which the first finding ends the process: odd services, mangled lines."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.device_service.coap import CoapError
from registry.device_service.udp.conversation import ConversationError
from tests.firmware.machine import Device, native_command, powered
from tests.firmware.test_udp_tunnel import Unit, flash, met, opened, unit
from tests.firmware.tunnelling import ESTABLISHED, NOT_TRUSTED, RUNNING, STEP, STEP_LIMIT, Step, empty
from tests.firmware.udp_tunnelling import ALTERED, ODD, RAW_ONLY, Cloud, Service, carry, play_odd, with_long_key
from tests.firmware.wire import PROVISION, WRITE, NoAnswerError

__all__ = ["flash", "unit"]
pytestmark = pytest.mark.timeout(120)  # the first one compiles


@pytest.fixture(params=["sanitised", pytest.param("certified_sanitised", marks=pytest.mark.soak)])
def strict(request: pytest.FixtureRequest, flash: Path) -> Iterator[Device]:
    with powered(native_command(request.getfixturevalue(request.param), flash)) as device:
        yield device


def test_the_sanitised_build_takes_all_of_it(strict: Device, unit: Unit) -> None:
    raw_only = {} if "certificate" in strict.command[0] else RAW_ONLY
    for name, (link, why) in {**ALTERED, **raw_only}.items():
        assert carry(opened(strict), Service(unit.cloud, unit.spki), link=link)["why"] == why, name
    for name in ODD:
        answer, why, _ = play_odd(opened(strict), unit.cloud, unit.spki, name)
        assert answer["why"] == why, name
    assert carry(opened(strict), Service(Cloud(), unit.spki))["why"] == NOT_TRUSTED
    met(strict, unit)


def first_flight(step: Step, unit: Unit) -> bytes:
    """What a service answers to this hello, as one datagram."""
    (flight,) = Service(unit.cloud, unit.spki).take(step(b"")["out"])
    return flight


def test_a_key_longer_than_any_is_not_trusted(sanitised: Path, flash: Path, unit: Unit) -> None:
    with powered(native_command(sanitised, flash)) as device:
        refuses_a_long_key(device, unit)


def refuses_a_long_key(device: Device, unit: Unit) -> None:
    step = opened(device)
    assert step(with_long_key(first_flight(step, unit))[:STEP_LIMIT])["st"] == RUNNING, "cut off, it is nothing"
    flight = with_long_key(first_flight(opened(device), unit))
    hello_ends = 13 + int.from_bytes(flight[11:13])
    step = opened(device)
    step(b"")
    assert step(flight[:hello_ends])["st"] == RUNNING
    assert step(flight[hello_ends:])["why"] == NOT_TRUSTED


def test_the_sanitised_build_finds_a_key_without_limit(
    overrunning: Path, flash: Path, unit: Unit, capfd: pytest.CaptureFixture[str]
) -> None:
    with powered(native_command(overrunning, flash)) as device:
        flight = with_long_key(first_flight(opened(device), unit))
        hello_ends = 13 + int.from_bytes(flight[11:13])
        step = opened(device)
        for each in (b"", flight[:hello_ends]):
            step(each)
        with pytest.raises(NoAnswerError):
            device.client.call(WRITE, PROVISION, 11, 0.5, **{"op": STEP, "in": flight[hello_ends:]})
        assert device.process is not None
        assert device.process.wait(20) != 0
    assert "AddressSanitizer: stack-buffer-overflow" in capfd.readouterr().err


def lived(binary: Path, flash: Path, unit: Unit) -> int:
    """The exit code of a device after sessions that end in all ways: LeakSanitizer looks when its line is gone."""
    device = Device(native_command(binary, flash))
    try:
        device.power_on()
        for link, _ in (*ALTERED.values(), *RAW_ONLY.values()):
            carry(opened(device), Service(unit.cloud, unit.spki), link=link)
        first_flight(opened(device), unit)
        met(device, unit)
    finally:
        os.close(device.slave)
        os.close(device.master)
    assert device.process is not None
    return device.process.wait(20)


def test_no_memory_is_lost_however_it_ends(
    sanitised: Path, overrunning: Path, flash: Path, unit: Unit, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lived(sanitised, flash, unit) == 0
    assert lived(overrunning, flash, unit) != 0, "the control"
    assert "LeakSanitizer: detected memory leaks" in capfd.readouterr().err


# ---- mangled


def mangled(rng: random.Random, data: bytes) -> bytes:
    """With some bytes other than they were, gone, or there twice; seldom as it was."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                changed[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))])
            case 2:
                del changed[at : at + rng.randint(1, 20)]
            case 3:
                changed[at:at] = changed[at : at + rng.randint(1, 20)] or b"\xff"
            case 4 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case _:
                del changed[at:]
    return bytes(changed)[:STEP_LIMIT]


class Line:
    """Both ways: what the service says is mangled now and then, late, there twice, or of an earlier session."""

    def __init__(self, rng: random.Random, old: list[bytes]) -> None:
        self.rng, self.old = rng, old

    def __call__(self, datagram: bytes, way: str) -> list[bytes]:
        if way == "up":
            return [datagram]
        if len(self.old) < 200:
            self.old.append(datagram)
        if self.rng.random() < 0.6:
            return [datagram]
        return [mangled(self.rng, datagram), *self.rng.sample(self.old, self.rng.randint(0, 2)), datagram][
            : self.rng.randint(1, 4)
        ]


def whole_session(rng: random.Random, step: Step, unit: Unit, old: list[bytes]) -> None:
    """A session until either side gives up; then messages of any bytes from who may send them."""
    service, line = Service(unit.cloud, unit.spki, mtu=rng.choice((256, 640))), Line(rng, old)
    with contextlib.suppress(ConversationError, CoapError):
        answer = carry(step, service, link=line)
        while answer["st"] == ESTABLISHED and service.refusal is None:
            said = rng.choice((empty(0x40, 7), rng.randbytes(220), mangled(rng, b"\x50\2\0\7\xb1h\xff12")))
            answer = carry(step, service, [service.sealed(said or b"\0")], link=line)


def recorded_session(rng: random.Random, step: Step, flights: list[bytes]) -> None:
    """What a service said once, mangled: the parsers see it before any key does."""
    step(b"")
    for _ in range(rng.randint(1, 4)):
        if step(mangled(rng, rng.choice(flights)))["st"] != RUNNING:
            return


def campaign(device: Device, unit: Unit, seconds: float, seed: int) -> tuple[int, int]:
    """How many sessions and recorded flights were mangled; AssertionError if the device does not answer after one."""
    rng, until, old = random.Random(seed), time.monotonic() + seconds, []
    flights = [each for _ in range(3) for each in Service(unit.cloud, unit.spki).take(opened(device)(b"")["out"])]
    whole = recorded = 0
    while time.monotonic() < until:
        if rng.random() < 0.3:
            whole += 1
            whole_session(rng, opened(device), unit, old)
        else:
            recorded += 1
            recorded_session(rng, opened(device), flights)
    assert device.client.tunnel(STEP)["st"] in range(4)
    met(device, unit)
    return whole, recorded


def test_mangled_datagrams_do_no_harm(strict: Device, unit: Unit) -> None:
    whole, recorded = campaign(strict, unit, 2.0, seed=61)
    assert whole > 3 and recorded > 10


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_mangled_datagrams_do_no_harm_for_long(strict: Device, unit: Unit, record_property) -> None:
    whole, recorded = campaign(strict, unit, 300.0, seed=62)
    record_property(
        "figures",
        f"tunnel, sanitised build: {whole} mangled UDP sessions and {recorded} mangled flights in 300 s, no finding",
    )
