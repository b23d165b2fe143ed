"""Load for a signer's socket: many clients with frames made beforehand, as fast as answers come or at a pace."""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hsm.messages import LENGTH, MAX_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Rate:
    """What a run of requests showed: how many a second, and latencies in seconds."""

    per_s: float
    latencies: Sequence[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies, n=100)
        return f"{self.per_s:7.0f}/s   p50 {cuts[49] * 1000:5.2f} ms   p99 {cuts[98] * 1000:5.2f} ms"


class _Line:
    """One client's connection: sends its frames one after the other, each when the last was answered."""

    def __init__(self, path: Path, frames: Sequence[bytes]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self._frames = iter(frames)
        self._buffer = b""
        self._sent_at = 0.0
        self.answers: list[bytes] = []
        self.latencies: list[float] = []

    def send(self) -> bool:
        """The next frame; False when there is none."""
        data = next(self._frames, None)
        if data is not None:
            self._sent_at = time.perf_counter()
            self.socket.sendall(data)
        return data is not None

    def read(self) -> bool:
        """What has come; True when it completes an answer."""
        self._buffer += self.socket.recv(2 * MAX_FRAME_BYTES)
        if not self._buffer:
            raise ConnectionResetError("the signer has closed the connection")
        if len(self._buffer) < LENGTH.size or len(self._buffer) < LENGTH.size + LENGTH.unpack_from(self._buffer)[0]:
            return False
        self.latencies.append(time.perf_counter() - self._sent_at)
        self.answers.append(self._buffer[LENGTH.size :])
        self._buffer = b""
        return True


def drive(path: Path, frames: Sequence[bytes], clients: int) -> tuple[Rate, list[bytes]]:
    """Send the frames from so many clients at once; the rate, and the answers in the order of the frames."""
    lines = [_Line(path, frames[number::clients]) for number in range(clients)]
    with selectors.DefaultSelector() as waiting:
        began = time.perf_counter()
        for line in lines:
            if line.send():
                waiting.register(line.socket, selectors.EVENT_READ, line)
        while waiting.get_map():
            for key, _ in waiting.select():
                if key.data.read() and not key.data.send():
                    waiting.unregister(key.data.socket)
        took = time.perf_counter() - began
    for line in lines:
        line.socket.close()
    answers = [lines[number % clients].answers[number // clients] for number in range(len(frames))]
    return Rate(len(frames) / took, [each for line in lines for each in line.latencies]), answers


def drive_paced(path: Path, frames: Sequence[bytes], clients: int, per_s: float) -> Rate:
    """So many frames a second in all, the clients in turn; a latency counts from the moment when a frame was due."""
    lines = [_Line(path, frames[number::clients]) for number in range(clients)]
    began = time.perf_counter()
    due = deque((began + number / per_s, lines[number % clients]) for number in range(len(frames)))
    late: dict[int, deque[float]] = {id(line): deque() for line in lines}
    asked: dict[int, float] = {}
    latencies: list[float] = []

    def send_next(line: _Line) -> None:
        if id(line) not in asked and late[id(line)]:
            asked[id(line)] = late[id(line)].popleft()
            line.send()

    with selectors.DefaultSelector() as waiting:
        for line in lines:
            waiting.register(line.socket, selectors.EVENT_READ, line)
        while len(latencies) < len(frames):
            while due and due[0][0] <= time.perf_counter():
                at, line = due.popleft()
                late[id(line)].append(at)
                send_next(line)
            for key, _ in waiting.select(max(0.0, due[0][0] - time.perf_counter()) if due else 1.0):
                if key.data.read():
                    latencies.append(time.perf_counter() - asked.pop(id(key.data)))
                    send_next(key.data)
    took = time.perf_counter() - began
    for line in lines:
        line.socket.close()
    return Rate(len(frames) / took, latencies)
