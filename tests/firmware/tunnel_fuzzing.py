"""Mangled words of a service to the device's clients, without a serial line between: tests/firmware/tunnel_harness.c.

Each stage of a session is reached honestly; there, mangled forms of the next thing that the service says are tried, each in
a process of its own that ends then. None may be a finding of the sanitisers, and none a session.
"""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.firmware import udp_tunnelling as udp
from tests.firmware.tunnelling import CLOSE, ESTABLISHED, OPEN, STEP, Pin, empty, hello
from tests.firmware.tunnelling import Service as TcpService
from tests.registry.device_service.fuzzing import mangled

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
HARNESS = Path(__file__).with_suffix("").with_name("tunnel_harness.c")
TRY, DIED = 3, 255
_AT_ONCE = 50
Variants = Callable[[random.Random], bytes]
"""One mangled form of what the service says next."""


class FoundError(Exception):
    """A sanitiser ended the device, or it took something mangled for a session."""


class Harness:
    """The sanitised build's tunnel in a process."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._read(1)

    def act(self, operation: int, data: bytes = b"") -> dict[str, Any]:
        """Open, step or close, and the four values of its outcome."""
        self._write(operation, data)
        state, why, more = self._read(3)
        return {"st": state, "out": self._read(int.from_bytes(self._read(2))), "more": bool(more), "why": why}

    def outcomes(self, inputs: list[bytes]) -> bytes:
        """What became of each, by itself: 16 * state + why, or DIED."""
        for each in inputs:
            self._write(TRY, each)
        return self._read(len(inputs))

    def _write(self, operation: int, data: bytes) -> None:
        self._in.write(bytes([operation]) + len(data).to_bytes(2) + data)
        self._in.flush()

    def _read(self, size: int) -> bytes:
        data = self._out.read(size)
        if len(data) != size:
            raise FoundError("the device has ended")
        return data


def build(build_directory: Path, into: Path) -> Path:
    """The harness, of a sanitised build's objects."""
    places = [FIRMWARE / "build" / "native-asan", build_directory]
    objects = {each.relative_to(place): each for place in places for each in place.rglob("*.o")}
    linked = [str(each) for name, each in objects.items() if name.name != "main.o"]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    words = ["-Wall", "-Wextra", "-Werror", f"-I{FIRMWARE / 'app'}", f"-I{FIRMWARE / 'port'}"]
    subprocess.run(["gcc", *flags, *words, str(HARNESS), *linked, "-o", str(into)], check=True)
    return into


@contextmanager
def started(binary: Path, flash: Path) -> Iterator[Harness]:
    argv = [str(binary), "--flash", str(flash)]
    words = f"exitcode={DIED}:symbolize=0"
    environment = {**os.environ, "ASAN_OPTIONS": words, "UBSAN_OPTIONS": words}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield Harness(process)
        finally:
            process.kill()


def tried(harness: Harness, dice: random.Random, make: Variants, many: int) -> int:
    """So many variants."""
    left = many
    while left > 0:
        inputs = [make(dice) for _ in range(min(left, _AT_ONCE))]
        for given, outcome in zip(inputs, harness.outcomes(inputs), strict=True):
            if outcome == DIED:
                raise FoundError(f"a finding, by {given.hex()}")
        left -= len(inputs)
    return many


class Silent(TcpService):
    """Hears, and leaves what is said to the campaign."""

    def answer(self, message: bytes) -> bytes:
        self.heard.append(message)
        return b""


def tcp_session(harness: Harness, cloud: rsa.RSAPrivateKey, pin: Pin, dice: random.Random, many: int) -> int:
    """One, with so many inputs at each of its cheap stages, and a few where the device's RSA key is used.

    A stage has 20 s by the device's clock, so `many` is not beyond some thousands.
    """
    service = Silent(cloud, pin)

    def sealed(message: bytes) -> bytes:
        before = service.session._sent
        frame = service.seal(message)
        service.session._sent = before
        return frame

    def odd(*messages: bytes) -> Variants:
        def make(dice: random.Random) -> bytes:
            inner = dice.random() < 0.7
            message = mangled(dice, dice.choice(messages), 2) if inner else dice.choice(messages)
            frame = sealed(message[:1024] or b"\0")
            frame = frame if inner else mangled(dice, frame)
            return frame + dice.randbytes(2_000) if dice.random() < 0.1 else frame

        return make

    harness.act(OPEN)
    played = tried(harness, dice, lambda dice: mangled(dice, service.nonce), many // 8)
    message_3 = service.take(harness.act(STEP, service.nonce)["out"])
    played += tried(harness, dice, lambda dice: mangled(dice, message_3), max(1, many // 200))
    service.take(harness.act(STEP, message_3)["out"])
    played += tried(harness, dice, odd(hello(1), hello(9, kind=0x40, payload=b"\xff" + bytes(40))), many)
    answer = harness.act(STEP, service.seal(hello(5)))
    service.take(answer["out"])
    ping = int.from_bytes(service.heard[-1][2:4])
    played += tried(harness, dice, odd(empty(0x60, ping), empty(0x70, ping), empty(0x40, 6)), many)
    assert harness.act(STEP, service.seal(empty(0x60, ping)))["st"] == ESTABLISHED
    played += tried(harness, dice, odd(empty(0x40, 6), empty(0x60, ping), b"\x40\1\0\7\xb1d"), many)
    harness.act(CLOSE)
    return played


def udp_session(harness: Harness, cloud: udp.Cloud, pinned: bytes, dice: random.Random, many: int) -> int:
    """One, with so many inputs before each of the service's datagrams, and before what comes in an open session."""
    service, played = udp.Service(cloud, pinned), 0
    answer = harness.act(OPEN)
    answer = harness.act(STEP)
    waiting: list[bytes] = []
    while waiting or answer["out"]:
        if answer["out"]:
            waiting += service.take(answer["out"])
        if not waiting:
            answer = harness.act(STEP) if answer["more"] else {"out": b"", "more": False}
            continue
        down = waiting.pop(0)
        played += tried(harness, dice, lambda dice, down=down: mangled(dice, down)[:640], many)
        answer = harness.act(STEP, down)
    assert harness.act(STEP)["st"] == ESTABLISHED
    messages = (empty(0x40, 6), empty(0x60, 7), hello(9, kind=0x40), b"\x40\1\0\7\xb1d")

    def odd(dice: random.Random) -> bytes:
        if dice.random() < 0.5:
            return service.sealed(mangled(dice, dice.choice(messages), 2)[:500] or b"\0")
        return mangled(dice, service.sealed(dice.choice(messages)))

    played += tried(harness, dice, odd, many)
    harness.act(CLOSE)
    return played
