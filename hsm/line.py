"""A blocking line to a signer's socket, and what a lost one means. Never decides and never signs."""

from __future__ import annotations

import itertools
import socket
import stat
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from hsm.connection import request
from hsm.door import who_may
from hsm.files import what_it_is
from hsm.messages import LENGTH, Answer, FrameError, body_length, parse_answer, result
from hsm.signer import SignerError, SignerForbiddenError, SignerUnavailableError
from trust.codes import Code
from trust.printable import plainly

T = TypeVar("T")
NOT_RUNNING = "it is not running"
TIMEOUT_S = 10.0


class Line:
    """One connection to a signer's socket: blocking, for any number of threads, one at a time."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._socket: socket.socket | None = None
        self._ids = itertools.count(1)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._turn:
            self._drop()

    def call(self, verb: str, body: msgspec.Struct, kind: type[T]) -> T:
        """What the signer answers; SignerError, SignerUnavailableError."""
        if not self._turn.acquire(timeout=self._timeout_s):
            raise SignerUnavailableError(f"the signer has been busy for {self._timeout_s:g} s")
        try:
            return result(self._ask(verb, body), kind)
        except FrameError as error:
            self._drop()
            raise unreadable(verb, error) from error
        except OSError as error:
            self._drop()
            raise away(self._path, error) from error
        finally:
            self._turn.release()

    def _ask(self, verb: str, body: msgspec.Struct) -> Answer:
        if self._socket is not None:
            try:
                return self._exchange(self._socket, verb, body)
            except ConnectionError:  # the signer was started again since the last call; asking once more is safe
                self._drop()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._timeout_s)
        self._socket.connect(str(self._path))
        return self._exchange(self._socket, verb, body)

    def _exchange(self, line: socket.socket, verb: str, body: msgspec.Struct) -> Answer:
        number = next(self._ids)
        line.sendall(request(verb, number, body))
        answer = parse_answer(_exactly(line, body_length(_exactly(line, LENGTH.size))))
        if answer.id not in {number, 0}:
            raise FrameError(Code.MALFORMED, f"answer {answer.id} to request {number}")
        return answer

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def away(path: Path, error: OSError) -> SignerUnavailableError:
    """Why there is no answer, with what to do."""
    match error:
        case ConnectionRefusedError() if other := _no_socket(path):
            why = f"that is {other}, no socket: correct `socket` in the settings"
        case FileNotFoundError() | ConnectionRefusedError():
            why = NOT_RUNNING
        case PermissionError():
            return SignerForbiddenError(f"no answer from the signer at {path}: {who_may(path)}")
        case _:
            why = plainly(error)
    return SignerUnavailableError(f"no answer from the signer at {path}: {why}")


def _no_socket(path: Path) -> str:
    """What is there instead of a socket; empty for one, and for nothing. Looked at once: a signer may end meanwhile."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return "" if stat.S_ISSOCK(mode) else what_it_is(mode)


def unreadable(verb: str, error: FrameError) -> SignerError | SignerUnavailableError:
    """A request too large to be sent was never asked; after an answer that cannot be read nobody knows."""
    text = f"{verb}: {error}"
    return SignerError(error.code, text) if error.code is Code.TOO_LARGE else SignerUnavailableError(text)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the signer closed the connection")
        data += part
    return data
