"""The device's clients under mangled words of their service: a slice; a million inputs each in `make soak`."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.firmware.machine import DEVICE_ID, blank_flash, native_command, powered
from tests.firmware.signatures import EC, RSA, new_anchor, new_job
from tests.firmware.tunnel_fuzzing import FoundError, Harness, build, started, tcp_session, udp_session
from tests.firmware.tunnelling import Pin, new_rsa, spki_of
from tests.firmware.udp_tunnelling import Cloud

Play = Callable[[Harness, random.Random, int], int]
PROTOCOLS = ("tcp", "udp")


@pytest.fixture(scope="module")
def units(native: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Play]]:
    """A flash image for each protocol, and how a session is played with it."""
    cloud, udp_cloud, directory = new_rsa(), Cloud(), tmp_path_factory.mktemp("units")
    keys: dict[str, bytes] = {}
    for name, kind, changes in (
        ("tcp", RSA, {"cloud": spki_of(cloud), "svc": 0}),
        ("udp", EC, {"cloud": udp_cloud.spki}),
    ):
        (directory / name).write_bytes(blank_flash())
        with powered(native_command(native, directory / name)) as device:
            keys[name] = device.client.make_key(kind, new_job())
            device.client.write_anchor({**new_anchor(), **changes})
    return {
        "tcp": (
            directory / "tcp",
            lambda *words: tcp_session(words[0], cloud, Pin(DEVICE_ID, keys["tcp"]), *words[1:]),
        ),
        "udp": (directory / "udp", lambda *words: udp_session(words[0], udp_cloud, keys["udp"], *words[1:])),
    }


@pytest.fixture(scope="module")
def harness(sanitised: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(sanitised.parent, tmp_path_factory.mktemp("harness") / "tunnel")


def campaign(binary: Path, unit: tuple[Path, Play], *, inputs: int, each: int, seed: int) -> str:
    dice, played, began = random.Random(seed), 0, time.monotonic()
    with started(binary, unit[0]) as harness:
        while played < inputs:
            played += unit[1](harness, dice, each)
    return f"{played} inputs, 0 findings, {time.monotonic() - began:.0f} s"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_slice(
    harness: Path, units: dict[str, tuple[Path, Play]], protocol: str, record_property: Callable[[str, object], None]
) -> None:
    record_property(
        "figures", f"fuzz tunnel {protocol}: {campaign(harness, units[protocol], inputs=600, each=100, seed=1)}"
    )


@pytest.mark.timeout(60)
def test_control_a_frame_without_limit_is_found(
    overrunning: Path, units: dict[str, tuple[Path, Play]], tmp_path: Path
) -> None:
    binary = build(overrunning.parent, tmp_path / "tunnel")
    with pytest.raises(FoundError):
        campaign(binary, units["tcp"], inputs=4_000, each=200, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_million(
    harness: Path, units: dict[str, tuple[Path, Play]], protocol: str, record_property: Callable[[str, object], None]
) -> None:
    record_property(
        "figures", f"fuzz tunnel {protocol}: {campaign(harness, units[protocol], inputs=1_000_000, each=1_000, seed=2)}"
    )
