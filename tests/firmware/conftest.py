"""Builds the firmware once for the session and hands out devices that run it."""

import fcntl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.firmware.machine import Device, blank_flash, native_command, powered

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


def make(*arguments: str) -> None:
    with (FIRMWARE / "Makefile").open() as lock:  # one make at a time, also across xdist's workers
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "-s", "-j2", "-C", FIRMWARE, *arguments], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def native() -> Path:
    make("native")
    return FIRMWARE / "build" / "native" / "firmware"


@pytest.fixture(scope="session")
def certified() -> Path:
    """The build of mbedTLS as it is: its UDP client shows a certificate."""
    make("native", "FORM=certificate")
    return FIRMWARE / "build" / "certificate" / "native" / "firmware"


@pytest.fixture(scope="session")
def single_slot() -> Path:
    """The planted fault: a store that writes over its only copy."""
    make("native", "BUILD=build/planted", "PLANT=-DPLANT_SINGLE_SLOT")
    return FIRMWARE / "build" / "planted" / "native" / "firmware"


@pytest.fixture(scope="session")
def loose() -> Path:
    """The planted faults: a nonce that is not checked, a new key that counts before anything says that it is new, and a
    tunnel that looks at no signature or cloud key, and at no message id or record's number."""
    make("native", "BUILD=build/loose", "PLANT=-DPLANT_REKEY -DPLANT_TUNNEL")
    return FIRMWARE / "build" / "loose" / "native" / "firmware"


@pytest.fixture(scope="session")
def sanitised() -> Path:
    """The host build with AddressSanitizer and UndefinedBehaviorSanitizer; either ends the process at its first finding."""
    make("native-asan")
    return FIRMWARE / "build" / "native-asan" / "firmware"


@pytest.fixture(scope="session")
def certified_sanitised() -> Path:
    make("native-asan", "FORM=certificate")
    return FIRMWARE / "build" / "certificate" / "native-asan" / "firmware"


@pytest.fixture(scope="session")
def overrunning() -> Path:
    """The planted faults: lines, a session's frames and a peer's key without a length limit, and memory of a DTLS session
    that is never given back; sanitised."""
    make("native-asan", "BUILD=build/overrunning", "PLANT=-DPLANT_LINE_OVERRUN")
    return FIRMWARE / "build" / "overrunning" / "native-asan" / "firmware"


@pytest.fixture(scope="session")
def board() -> Path:
    make("emulated")
    return FIRMWARE / "build" / "ast1030" / "firmware.elf"


@pytest.fixture(scope="session")
def certified_board() -> Path:
    make("emulated", "FORM=certificate")
    return FIRMWARE / "build" / "certificate" / "ast1030" / "firmware.elf"


@pytest.fixture(scope="session")
def wedging_board() -> Path:
    """The planted fault: a UART that is not told, after its set-up, that there is room again."""
    make("emulated", "BUILD=build/wedging", "PLANT=-DPLANT_UART_WEDGE")
    return FIRMWARE / "build" / "wedging" / "ast1030" / "firmware.elf"


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    path = tmp_path / "flash.bin"
    path.write_bytes(blank_flash())
    return path


@pytest.fixture
def start(native: Path, flash: Path) -> Iterator[Callable[..., Device]]:
    """start(*options): a native device on the test's flash image, powered on."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(powered(native_command(native, flash, *options)))


@pytest.fixture
def device(start: Callable[..., Device]) -> Device:
    return start()
