"""How the registry asks its device service: a connection for each request, blocking, in bounded time.

Never decides anything about a handshake. A service that is away, slow or of another version is one error.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.device_service.relay.messages import (
    LENGTH,
    Answer,
    FrameError,
    Request,
    body_length,
    framed,
    read_answer,
)

TIMEOUT_S: Final = 9.0
"""For one answer: five seconds of work that a step waits for, or a database that takes its time."""


class NoAnswerError(Exception):
    """No answer of the device service. Whether it did something is unknown; a handshake is begun anew."""


class AwayError(NoAnswerError):
    """Nobody takes connections there: it did nothing."""


@dataclass(frozen=True, slots=True)
class RelayClient:
    """For any number of threads."""

    path: Path
    timeout_s: float = TIMEOUT_S

    def ask(self, request: Request) -> Answer:
        """The service's answer; AwayError, NoAnswerError."""
        until = time.monotonic() + self.timeout_s
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(self.timeout_s)
                self._connect(line)
                line.sendall(framed(request))
                return read_answer(_exactly(line, body_length(_exactly(line, LENGTH.size, until)), until))
        except (OSError, FrameError) as error:
            raise NoAnswerError(f"no answer from the device service at {self.path}: {error}") from error

    def _connect(self, line: socket.socket) -> None:
        try:
            line.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AwayError(f"no device service at {self.path}: {error}") from error


def _exactly(line: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it takes too long")
        line.settimeout(left_s)
        part = line.recv(size - len(data))
        if not part:
            raise ConnectionResetError("it has closed the connection")
        data += part
    return data
