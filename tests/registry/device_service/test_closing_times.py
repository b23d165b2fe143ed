"""When refused devices' connections end, right and wrong paddings in turn: nobody may tell them apart by it.

The service is a process of its own. What is compared are the times from message 2 to the end, of pairs that follow each
other; the difference that so many pairs could have shown is told with it. Control: one that takes its time with what opens.
"""

from __future__ import annotations

import math
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import seeded
from tests.registry.device_service.test_tcp import ID

Messages = dict[str, list[bytes]]
_SURE = 3.9  # of a normal distribution: 1 in 10,000, on both sides together
_LEFT_OUT = 20  # a twentieth of the differences on either side: the machine's own


@dataclass(frozen=True, slots=True)
class Found:
    """Of pairs: the mean difference of their times, and the smallest that so many could have shown (seconds)."""

    pairs: int
    mean_s: float
    seen_from_s: float

    @property
    def apart(self) -> bool:
        return abs(self.mean_s) > self.seen_from_s

    def __str__(self) -> str:
        return (
            f"{2 * self.pairs} refused handshakes: right and wrong paddings end {self.mean_s * 1e6:.0f} us apart in the "
            f"mean, {self.seen_from_s * 1e6:.0f} us would have been seen"
        )


@contextmanager
def child(refused_s: float, *plants: str) -> Iterator[int]:
    """The port of a service."""
    argv = [sys.executable, "-m", "tests.registry.device_service.tcp_child", str(refused_s), *plants]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def refused_after(port: int, sent: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        nonce = line.recv(40, socket.MSG_WAITALL)
        assert len(nonce) == 40
        line.sendall(sent[:-1])
        time.sleep(0.002)
        began = time.monotonic()
        line.sendall(sent[-1:])
        assert line.recv(1) == b""
        return time.monotonic() - began


@pytest.fixture(scope="module")
def messages() -> Messages:
    """`right` ones open, and are for other nonces; a handful of each, made beforehand."""
    device = OracleDevice(seeded("large", 2048), seeded("cloud", 2048), ID)
    return {
        "right": [device.message_2(os.urandom(40)) for _ in range(32)],
        "wrong": [b"\x00" + os.urandom(255) for _ in range(32)],
    }


def measured(port: int, messages: Messages, pairs: int, *, at_once: int = 1) -> Found:
    """The order within a pair is turned each time."""

    def some(first: int) -> list[float]:
        apart = []
        for number in range(first, pairs, at_once):
            order = ("right", "wrong") if number // at_once % 2 else ("wrong", "right")
            took = {name: refused_after(port, messages[name][number % 32]) for name in order}
            apart.append(took["right"] - took["wrong"])
        return apart

    with ThreadPoolExecutor(at_once) as clients:
        apart = sorted(each for some_apart in clients.map(some, range(at_once)) for each in some_apart)
    kept = apart[len(apart) // _LEFT_OUT : len(apart) - len(apart) // _LEFT_OUT]
    return Found(pairs, statistics.fmean(kept), _SURE * statistics.stdev(kept) / math.sqrt(len(kept)))


@pytest.mark.timeout(90)
def test_a_slice(messages: Messages, record_property: Callable[[str, object], None]) -> None:
    with child(0.15) as port:
        found = measured(port, messages, 160, at_once=8)
    record_property("figures", str(found))
    assert abs(found.mean_s) < max(0.002, found.seen_from_s), found


@pytest.mark.timeout(90)
def test_control_an_end_that_waits_for_the_signer_is_seen(messages: Messages) -> None:
    with child(0.1, "telling") as port:
        found = measured(port, messages, 16)
    assert found.apart and found.mean_s > 0.02, found


@pytest.mark.soak
def test_a_hundred_thousand(messages: Messages, record_property: Callable[[str, object], None]) -> None:
    with child(1.0) as port:
        found = measured(port, messages, 50_000, at_once=100)
    record_property("figures", str(found))
    assert not found.apart, found
