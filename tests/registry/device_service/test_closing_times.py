"""When refused devices' connections end, right and wrong paddings in turn: nobody may tell them apart by it.

The service is a process of its own. What is compared are the times from message 2 to the end, of pairs that follow each
other; the difference that so many pairs could have shown is told with it. Control: one that takes its time with what opens.
"""

from __future__ import annotations

import math
import os
import random
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
_LEFT_OUT = 20  # a twentieth of the rounds on either side: the machine's own


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
    """Which of a pair is first, a seeded coin says, for each by itself.

    Clients go in step, as all wait the same time: what disturbs the machine disturbs many pairs alike. So what is
    compared are the means of rounds, of a pair of each client, and how much these differ says what could be seen.
    """
    coin = random.Random(1)
    first = [coin.random() < 0.5 for _ in range(pairs)]

    def some(client: int) -> list[float]:
        apart = []
        for number in range(client, pairs, at_once):
            order = ("right", "wrong") if first[number] else ("wrong", "right")
            took = {name: refused_after(port, messages[name][number % 32]) for name in order}
            apart.append(took["right"] - took["wrong"])
        return apart

    with ThreadPoolExecutor(at_once) as clients:
        rounds = [statistics.fmean(each) for each in zip(*clients.map(some, range(at_once)), strict=True)]
    kept = sorted(rounds)[len(rounds) // _LEFT_OUT : len(rounds) - len(rounds) // _LEFT_OUT]
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
