"""How the registry asks its device service: a connection for each request, blocking, in bounded time.

Never decides anything about a handshake. A service that is away, slow or of another version is one error.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from registry.device_service.relay.messages import (
    LENGTH,
    Answer,
    FrameError,
    Refusal,
    Request,
    Step,
    body_length,
    framed,
    read_answer,
)
from trust.codes import Code

TIMEOUT_S: Final = 9.0
"""For one answer: five seconds of work that a step waits for, or a database that takes its time."""


NONE: Final = "this registry has no device service: relay_socket in its settings is empty"
_STATUS_S: Final = 2.0
_NOBODY: Final = Step(station="nobody", handshake="0" * 32)
"""A harmless question: nobody has such a handshake."""


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

    def trouble(self) -> str:
        """Why no unit could be met now, for whoever runs the registry's line; empty if one could."""
        try:
            said = replace(self, timeout_s=_STATUS_S).ask(_NOBODY)
        except AwayError:
            return "no device service is there"
        except NoAnswerError:
            return "the device service does not answer"
        known = isinstance(said, Refusal) and said.code is Code.HANDSHAKE_UNKNOWN
        return "" if known else "the device service does not know this registry: see its relay_uids"

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
