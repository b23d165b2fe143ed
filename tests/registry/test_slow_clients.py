"""Clients that take their time, on purpose: each loses its connection, and none keeps the registry from ending."""

from __future__ import annotations

import select
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.registry.running import Plant, answered, connect, plant_at

pytestmark = pytest.mark.timeout(60)  # each test starts the program
STATUS = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n"
LIMIT_S, OFF_S = 0.5, 60.0


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_at(tmp_path) as made:
        yield made


def dropped(line: socket.socket, limit_s: float, *, drip: bytes = b"") -> bool:
    """Whether the other end goes away, though we go on sending a little; where it should not, in three times the limit."""
    within_s = 3.0 if limit_s < OFF_S else 3 * LIMIT_S
    line.settimeout(0.2)
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if drip:
                line.sendall(drip)
            if not line.recv(65_536):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize("limit_s", [LIMIT_S, OFF_S], ids=["bounded", "control: limit off"])
def test_a_handshake_that_does_not_come(plant: Plant, limit_s: float) -> None:
    plant.start(HANDSHAKE_TIMEOUT_S=limit_s)
    with socket.create_connection(("127.0.0.1", plant.port)) as line:
        assert dropped(line, limit_s) is (limit_s < OFF_S)
    assert plant.end() == 0


@pytest.mark.parametrize("limit_s", [LIMIT_S, OFF_S], ids=["bounded", "control: limit off"])
def test_a_head_in_drips_and_none_at_all(plant: Plant, limit_s: float) -> None:
    plant.start(HEAD_TIMEOUT_S=limit_s)
    with connect(plant) as first:
        first.sendall(STATUS + b"x: ")
        assert dropped(first, limit_s, drip=b"a") is (limit_s < OFF_S)
    with connect(plant) as silent:
        assert dropped(silent, limit_s) is (limit_s < OFF_S)
    with connect(plant) as later:  # one after the other: each has its own limit from its first moment on
        later.sendall(STATUS + b"\r\n")  # a whole request, and half of the next one
        assert answered(later).startswith(b"HTTP/1.1 200 ")
        assert dropped(later, limit_s, drip=b"G") is (limit_s < OFF_S)
    assert plant.end() == 0


def test_a_connection_in_use_outlives_the_limit_of_a_head(plant: Plant) -> None:
    plant.start(HEAD_TIMEOUT_S=0.5)
    with connect(plant) as line:
        for _ in range(4):
            line.sendall(STATUS + b"\r\n")
            assert answered(line).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.4)
        time.sleep(1.0)  # idle between requests: not a head's time
        line.sendall(STATUS + b"\r\n")
        assert answered(line).startswith(b"HTTP/1.1 200 ")
    assert plant.end() == 0


def ask_and_never_read(line: ssl.SSLSocket) -> None:
    """Ask until the registry takes no more: it waits for us to read. It takes none for a good while, not for being busy."""
    line.settimeout(4.0)
    with suppress(OSError):
        while True:
            line.sendall((STATUS.replace(b"/v1/status", b"/openapi.json") + b"\r\n") * 50)


@pytest.mark.parametrize("limit_s", [LIMIT_S, OFF_S], ids=["bounded", "control: limit off"])
def test_an_answer_that_is_not_read(plant: Plant, limit_s: float) -> None:
    plant.start(SEND_TIMEOUT_S=limit_s)
    with connect(plant) as line:
        ask_and_never_read(line)
        gone = select.poll()
        gone.register(line, select.POLLHUP | select.POLLERR)  # without reading
        assert bool(gone.poll(3000 if limit_s < OFF_S else 1500)) is (limit_s < OFF_S)
        assert plant.process is not None
        plant.process.kill()


def ends_after(plant: Plant, *signals_after_s: float) -> float:
    assert plant.process is not None
    began = time.monotonic()
    for pause_s in signals_after_s:
        time.sleep(pause_s)
        plant.process.send_signal(signal.SIGTERM)
    assert plant.process.wait(20) == 0
    return time.monotonic() - began


def test_sigterm_ends_it_within_its_grace_though_a_client_does_not_read(plant: Plant) -> None:
    plant.start(SEND_TIMEOUT_S=OFF_S, _GRACE_S=2)
    with connect(plant) as line:
        ask_and_never_read(line)
        assert 1.9 < ends_after(plant, 0.0) < 4.0, "the client was waited for, and no longer than that"


def test_a_second_sigterm_ends_it_at_once(plant: Plant) -> None:
    plant.start(SEND_TIMEOUT_S=OFF_S, _GRACE_S=OFF_S)
    with connect(plant) as line:
        ask_and_never_read(line)
        assert ends_after(plant, 0.0, 0.5) < 3.0
