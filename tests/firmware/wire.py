"""A small SMP codec and client for these tests, written from docs/wire.md and from nothing else.

Must never import the product's driver: a shared codec would hide a bug from both sides.
"""

import base64
import binascii
import contextlib
import os
import select
import struct
import time
from dataclasses import dataclass
from typing import Any

import cbor2

READ, WRITE = 0, 2
OS, PROVISION = 0, 65
FIRST, NEXT = b"\x06\x09", b"\x04\x14"
PART = 93


class NoAnswerError(AssertionError):
    """Nothing, or nothing that decodes, came back in time."""


class RefusedError(AssertionError):
    """The device answered with an error; `group` (None for a general error) and `rc` are its own."""

    def __init__(self, group: int | None, rc: int) -> None:
        super().__init__(f"refused: group {group}, rc {rc}")
        self.group, self.rc = group, rc


def message(frame: bytes) -> bytes:
    return struct.pack(">H", len(frame) + 2) + frame + struct.pack(">H", binascii.crc_hqx(frame, 0))


def lines(frame: bytes, part: int = PART) -> bytes:
    whole = message(frame)
    parts = [whole[at : at + part] for at in range(0, len(whole), part)]
    return b"".join((NEXT if i else FIRST) + base64.b64encode(p) + b"\n" for i, p in enumerate(parts))


def frame(op: int, group: int, command: int, body: bytes, seq: int = 0) -> bytes:
    return struct.pack(">BBHHBB", 1 << 3 | op, 0, len(body), group, seq, command) + body


def request(op: int, group: int, command: int, fields: dict[str, Any], seq: int = 0) -> bytes:
    return frame(op, group, command, cbor2.dumps(fields), seq)


@dataclass(frozen=True, slots=True)
class Answer:
    op: int
    group: int
    seq: int
    command: int
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        found = cbor2.loads(self.body)
        assert cbor2.dumps(found) == self.body, "the answer's CBOR is not in its shortest form"
        return found


def parse_frame(data: bytes) -> Answer:
    head, flags, size, group, seq, command = struct.unpack(">BBHHBB", data[:8])
    assert flags == 0
    assert head >> 3 == 1
    assert size == len(data) - 8
    return Answer(head & 7, group, seq, command, data[8:])


class FrameReader:
    """Takes bytes as they come, gives whole frames; strict, so that a sloppy device is found out."""

    def __init__(self) -> None:
        self._text = b""
        self._message = b""

    def feed(self, data: bytes) -> list[bytes]:
        self._text += data
        frames = []
        while b"\n" in self._text:
            line, self._text = self._text.split(b"\n", 1)
            if line[:2] not in {FIRST, NEXT}:
                continue
            assert len(line) <= 127
            self._message = (b"" if line[:2] == FIRST else self._message) + base64.b64decode(line[2:], validate=True)
            size = struct.unpack(">H", self._message[:2])[0]
            if len(self._message) == size + 2:
                body, crc = self._message[2:-2], self._message[-2:]
                assert struct.pack(">H", binascii.crc_hqx(body, 0)) == crc
                frames.append(body)
        return frames


class Client:
    """Speaks to a device through a file descriptor; one request outstanding, as the wire wants it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._seq = 0
        self._reader = FrameReader()
        self._frames: list[bytes] = []

    def send_raw(self, data: bytes, patience_s: float = 10.0) -> None:
        while data:
            if not select.select([], [self.fd], [], patience_s)[1]:
                raise NoAnswerError(f"the device took no byte for {patience_s} s")
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.fd, data) :]

    def receive(self, timeout_s: float = 3.0) -> Answer:
        deadline = time.monotonic() + timeout_s
        while not self._frames:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise NoAnswerError(f"no answer within {timeout_s} s")
            self._frames += self._reader.feed(os.read(self.fd, 4096))
        return parse_frame(self._frames.pop(0))

    def receive_raw(self, size: int, timeout_s: float = 3.0) -> bytes:
        deadline = time.monotonic() + timeout_s
        data = b""
        while len(data) < size and select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            data += os.read(self.fd, size - len(data))
        return data

    def drain(self) -> None:
        """Takes what has come in without waiting, and forgets it."""
        while select.select([self.fd], [], [], 0)[0]:
            self._reader.feed(os.read(self.fd, 4096))

    def silent(self, wait_s: float = 0.05) -> bool:
        try:
            self.receive(wait_s)
        except NoAnswerError:
            return True
        return False

    def exchange(self, op: int, group: int, command: int, body: bytes, timeout_s: float = 3.0) -> Answer:
        self._seq = (self._seq + 1) % 256
        self.send_raw(lines(frame(op, group, command, body, self._seq)))
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self.receive(deadline - time.monotonic())
            if (answer.op, answer.group, answer.seq, answer.command) == (op + 1, group, self._seq, command):
                return answer
            assert answer.seq != self._seq, f"an answer to something else: {answer}"

    def call(self, op: int, group: int, command: int, timeout_s: float = 3.0, /, **fields: Any) -> dict[str, Any]:
        found = self.exchange(op, group, command, cbor2.dumps(fields), timeout_s).fields
        if "rc" in found:
            assert set(found) == {"rc"}
            raise RefusedError(None, found["rc"])
        if "err" in found:
            raise RefusedError(found["err"]["group"], found["err"]["rc"])
        return found

    def echo(self, text: str) -> str:
        return self.call(WRITE, OS, 0, d=text)["r"]

    def reset(self) -> None:
        assert self.call(WRITE, OS, 5) == {}

    def identify(self, timeout_s: float = 3.0) -> dict[str, Any]:
        return self.call(READ, PROVISION, 0, timeout_s)

    def generate(self, alg: int, job: bytes, **more: Any) -> int:
        return self.call(WRITE, PROVISION, 1, alg=alg, job=job, **more)["st"]

    def status(self) -> tuple[int, int]:
        found = self.call(READ, PROVISION, 2)
        assert set(found) == {"st", "pct"}
        return found["st"], found["pct"]

    def wait_for_key(self, timeout_s: float = 15.0) -> list[int]:
        """Polls until the key is there; the percentages seen on the way."""
        seen = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state, percent = self.status()
            seen.append(percent)
            if state != 1:
                assert (state, percent) == (2, 100), f"generation ended in state {state} at {percent} %"
                return seen
            time.sleep(0.002)
        raise NoAnswerError(f"no key within {timeout_s} s")

    def make_key(self, alg: int, job: bytes, **more: Any) -> bytes:
        assert self.generate(alg, job, **more) == 1
        self.wait_for_key()
        return self.public_key()["spki"]

    def public_key(self) -> dict[str, Any]:
        return self.call(READ, PROVISION, 3)

    def prove(self, challenge: bytes, context: str) -> bytes:
        return self.call(WRITE, PROVISION, 4, ch=challenge, ctx=context)["sig"]

    def write_anchor(self, anchor: dict[str, Any]) -> None:
        assert self.call(WRITE, PROVISION, 5, **anchor) == {}

    def read_anchor(self) -> dict[str, Any]:
        return self.call(READ, PROVISION, 6)

    def lock(self, job: bytes) -> None:
        assert self.call(WRITE, PROVISION, 7, job=job) == {}

    def nonce(self) -> bytes:
        return self.call(WRITE, PROVISION, 14)["n"]

    def step(self, authorisation: bytes, signature: bytes, **anchor: Any) -> int:
        return self.call(WRITE, PROVISION, 12, au=authorisation, sig=signature, **anchor)["st"]

    def key_beside(self) -> dict[str, Any]:
        return self.call(READ, PROVISION, 15)

    def prove_beside(self, challenge: bytes, context: str) -> bytes:
        return self.call(WRITE, PROVISION, 16, ch=challenge, ctx=context)["sig"]

    def tunnel(self, op: int, data: bytes | None = None) -> dict[str, Any]:
        found = self.call(WRITE, PROVISION, 11, op=op, **({} if data is None else {"in": data}))
        assert set(found) == {"st", "out", "more", "why"}
        assert (found["why"] != 0) == (found["st"] == 3)
        return found

    def report(self, challenge: bytes) -> tuple[bytes, bytes]:
        found = self.call(WRITE, PROVISION, 8, ch=challenge)
        return found["rep"], found["sig"]
