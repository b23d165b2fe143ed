"""Mutated requests against the sanitised build: python tests/firmware/fuzz.py BINARY SECONDS [SEED]

Seeds are the vectors' requests. The device must live, answer an honest echo after each burst, and never say anything that
does not parse. Prints one line; the exit code is 1 when the device died.
"""

import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.firmware import make_vectors
from tests.firmware.machine import Device, blank_flash, native_command
from tests.firmware.wire import NoAnswerError, lines, request

BURST = 50
HONEST = b"\xa1\x61r\x66honest"


def mutate(rng: random.Random, data: bytes, budget: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, budget)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = rng.choice(
                    (0, 0x1F, 0x3B, 0x5B, 0x7F, 0x9B, 0xBF, 0xFF, rng.randrange(256))
                )
            case 2 if changed:
                del changed[at % len(changed) : at % len(changed) + rng.randint(1, 8)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                changed[at:at] = changed[: rng.randint(0, 40)]
    return bytes(changed)


def mutated_stream(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Half of the time the body with a right length and CRC around it, so that it gets through; else header or line."""
    frame = rng.choice(seeds)
    kind = rng.randrange(4)
    if kind < 2:
        body = mutate(rng, frame[8:], 4)[:1016]
        frame = frame[:2] + len(body).to_bytes(2, "big") + frame[4:8] + body
    elif kind == 2:
        frame = mutate(rng, frame, 3)[:1500]
    stream = lines(frame, rng.choice((93, 93, 30, 1, 93)))
    return mutate(rng, stream, 3) if kind == 3 else stream


def seeds_for(rng: random.Random) -> list[bytes]:
    """The story's requests without *reset*; one device in two never gets a key, so that no lock ends its interest early."""
    frames = [bytes.fromhex(step["request"]["frame"]) for step in make_vectors.story() if step["name"] != "reset"]
    keyless = rng.random() < 0.5
    return [frame for frame in frames if not (keyless and frame[4:6] == b"\0A" and frame[7] in {1, 7})]


def campaign(binary: Path, seconds: float, seed: int) -> int:
    """Frames sent. Raises AssertionError when the device dies or stops answering."""
    rng = random.Random(seed)
    sent = 0
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        flash = Path(folder) / "flash.bin"
        while time.monotonic() < deadline:
            flash.write_bytes(blank_flash())
            device = Device(native_command(binary, flash))
            try:
                device.power_on()
                until = min(deadline, time.monotonic() + 5)
                seeds = seeds_for(rng)
                while time.monotonic() < until:
                    sent += burst(rng, device, seeds)
            finally:
                device.close()
    return sent


def burst(rng: random.Random, device: Device, seeds: list[bytes]) -> int:
    for _ in range(BURST):
        device.client.send_raw(mutated_stream(rng, seeds))
        device.client.drain()
    device.client.send_raw(b"\n")
    for _ in range(200):  # a key may be in the making, and answers to the burst are still on their way
        device.client.send_raw(lines(request(2, 0, 0, {"d": "honest"})))
        with contextlib.suppress(NoAnswerError):
            while device.client.receive(0.1).body != HONEST:
                pass
            return BURST
        assert device.process is not None
        assert device.process.poll() is None, f"the device died with {device.process.returncode}"
    raise AssertionError("the device lives but answers no echo")


if __name__ == "__main__":
    duration = float(sys.argv[2])
    print(
        f"{campaign(Path(sys.argv[1]), duration, int((sys.argv[3:] or ['1'])[0]))} mutated requests in {duration:.0f} s, no finding"
    )
