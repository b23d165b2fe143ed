"""The UDP client on the emulated microcontroller, whose memory is small and never cleaned up for it, in both of its builds."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.device_service.udp.gnutls.endpoint import Presented
from tests.firmware.machine import Device, board_command, powered
from tests.firmware.test_udp_tunnel import Unit, flash, met, opened, played_again, unit
from tests.firmware.tunnelling import ESTABLISHED, NOT_TRUSTED, REFUSED, RUNNING, STEP, TIMED_OUT
from tests.firmware.udp_tunnelling import Cloud, Service, carry
from tests.registry.device_service.dtls_client import spki_of
from tests.registry.device_service.service_end import new_key

__all__ = ["flash", "unit"]
pytestmark = [pytest.mark.qemu, pytest.mark.timeout(120)]  # the first one compiles


@pytest.fixture(params=["board", pytest.param("certified_board", marks=pytest.mark.soak)])
def emulated(request: pytest.FixtureRequest, flash: Path) -> Iterator[Device]:
    with powered(board_command(request.getfixturevalue(request.param), flash)) as device:
        yield device


def test_the_board_comes_to_the_service_and_to_no_other(
    request: pytest.FixtureRequest, emulated: Device, unit: Unit, record_property
) -> None:
    """Again and again, since its heap has 64 KiB: what one handshake leaves there the next ones lack."""
    certified = request.node.callspec.params["emulated"] == "certified_board"
    shown, took = Presented.CERTIFICATE if certified else Presented.RAW_KEY, []
    for _ in range(5):
        begun = time.monotonic()
        service = met(emulated, unit)
        took.append(1000 * (time.monotonic() - begun))
        assert service.session is not None and service.session.peer is not None
        assert service.session.peer.presented is shown
        assert carry(opened(emulated), Service(Cloud(), unit.spki))["why"] == NOT_TRUSTED
        assert carry(opened(emulated), Service(unit.cloud, spki_of(new_key())))["why"] == REFUSED
    assert played_again(emulated, unit) == 1
    record_property(
        "figures", f"UDP handshake, emulated board, {shown}: {statistics.median(took):.0f} ms (median of 5)"
    )


def test_the_board_repeats_itself_by_its_own_clock(emulated: Device) -> None:
    step, begun = opened(emulated), time.monotonic()
    said = len(step(b"")["out"])
    while not (again := step(b"")["out"]):
        time.sleep(0.02)
    assert len(again) == said and 1 <= time.monotonic() - begun < 5


@pytest.mark.soak
def test_the_board_gives_up_after_15_seconds(emulated: Device) -> None:
    step, begun = opened(emulated), time.monotonic()
    answer = step(b"")
    while answer["st"] == RUNNING:
        time.sleep(0.2)
        answer = step(b"")
    assert answer["why"] == TIMED_OUT and 14.9 < time.monotonic() - begun < 17


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_the_boards_memory_lasts(emulated: Device, unit: Unit) -> None:
    """500 handshakes, of which each third is broken off: a leak of some 50 bytes would end them."""
    for number in range(500):
        if number % 3:
            met(emulated, unit)
        else:
            assert emulated.client.tunnel(0)["st"] == RUNNING
            emulated.client.tunnel(STEP, b"")
    assert met(emulated, unit).heard and emulated.client.tunnel(STEP)["st"] == ESTABLISHED
