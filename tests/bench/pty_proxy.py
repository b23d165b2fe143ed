"""A serial line between station and device that keeps time: recording only, or paced like a real UART.

One thread a direction. A paced line delivers each byte when a UART would have (10 bits a byte) and, towards the station,
holds bytes back as a USB adapter does: until 62 of them are there or the latency timer ends. Every exchange is written
as one JSON line: request's first and last byte, answer's first and last byte, as CLOCK_MONOTONIC seconds.
Run as a process of its own, so that its work is not counted as the station's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import tomllib
import tty
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

BITS = 10
ADAPTER_BUFFER = 62
PIECE = 16
PAIR = 2


@dataclass(slots=True)
class Exchange:
    """Times of one request and its answer."""

    request: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0


class Line:
    """One slot's proxy."""

    def __init__(self, name: str, device_port: str, link: Path, out: TextIO, baud: int, latency_s: float) -> None:
        self.name = name
        self.byte_s = BITS / baud if baud else 0.0
        self.latency_s = latency_s
        self._out = out
        self._lock = threading.Lock()
        self._now = Exchange()
        self.device = os.open(os.path.realpath(device_port), os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.device)
        self.station, slave = os.openpty()
        tty.setraw(slave)
        self._slave = slave
        link.symlink_to(os.ttyname(slave))

    def start(self) -> None:
        for pump in (self._down, self._up):
            threading.Thread(target=pump, daemon=True).start()

    def _down(self) -> None:
        free = 0.0
        while data := _read(self.station):
            with self._lock:
                if self._now.answer:
                    self._write()
                    self._now = Exchange()
                if not self._now.request:
                    self._now.request = [time.monotonic(), 0.0]
                now = self._now
                now.sent += len(data)
            free = self._deliver(self.device, data, free, now.request)

    def _up(self) -> None:
        free = 0.0
        while data := _read(self.device):
            with self._lock:
                if not self._now.answer:
                    self._now.answer = [time.monotonic(), time.monotonic()]
                now = self._now
                now.received += len(data)
            if self.latency_s:
                time.sleep(self.latency_s if len(data) % ADAPTER_BUFFER else 0)
            free = self._deliver(self.station, data, free, now.answer)

    def _deliver(self, port: int, data: bytes, free: float, span: list[float]) -> float:
        """Write the bytes when a UART would have; the span's end is taken just before each write.

        After it the other side may answer before this thread runs again.
        """
        if not self.byte_s:
            span[1] = time.monotonic()
            os.write(port, data)
            return 0.0
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            free = max(free, time.monotonic()) + len(piece) * self.byte_s
            while (left := free - time.monotonic()) > 0:
                time.sleep(left)
            span[1] = time.monotonic()
            os.write(port, piece)
        return free

    def _write(self) -> None:
        now = self._now
        if len(now.request) == len(now.answer) == PAIR:
            row = {
                "slot": self.name,
                "request": now.request,
                "answer": now.answer,
                "sent": now.sent,
                "received": now.received,
            }
            self._out.write(json.dumps(row) + "\n")

    def finish(self) -> None:
        with self._lock:
            self._write()


def _read(port: int) -> bytes:
    try:
        return os.read(port, 4096)
    except OSError:
        return b""


def main() -> None:
    """Make a proxied slots file beside the records; SIGTERM ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--baud", type=int, default=0, help="0: as fast as the pty")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    text = options.slots.read_text()
    lines = []
    with (options.dir / "exchanges.jsonl").open("w") as out:
        for slot in tomllib.loads(text)["slot"]:
            link = options.dir / slot["name"]
            lines.append(Line(slot["name"], slot["port"], link, out, options.baud, options.latency_ms / 1000))
            text = text.replace(json.dumps(slot["port"]), json.dumps(str(link)))
        for line in lines:
            line.start()
        (options.dir / "slots.toml").write_text(text)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        for line in lines:
            line.finish()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
