"""Flash images after every prefix of a traced write, and after half an operation; and what a device booted on one says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.firmware.machine import Device
from tests.firmware.wire import RefusedError

SECTOR = 4096


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of --flash-trace: an erase when `value` is None, else one programmed byte."""

    address: int
    value: int | None

    def apply(self, image: bytearray) -> None:
        if self.value is None:
            image[self.address : self.address + SECTOR] = b"\xff" * SECTOR
        else:
            image[self.address] &= self.value

    def halves(self, image: bytes) -> Iterator[bytes]:
        """What a power cut inside the operation may leave: part of the sector erased, part of the bits cleared."""
        cuts: list[tuple[slice, bytes]]
        here = self.address
        if self.value is None:
            old = image[here : here + SECTOR]
            striped = bytes(0xFF if i % 2 else byte for i, byte in enumerate(old))
            weak = bytes(byte | 0x55 for byte in old)
            halves = [
                b"\xff" * (SECTOR // 2) + old[SECTOR // 2 :],
                old[:64] + b"\xff" * (SECTOR - 64),
                b"\xff" * 64 + old[64:],
            ]
            cuts = [(slice(here, here + SECTOR), sector) for sector in [*halves, striped, weak]]
        else:
            cuts = [(slice(here, here + 1), bytes([image[here] & (self.value | mask)])) for mask in (0xF0, 0x0F, 0xAA)]
        for where, data in cuts:
            torn = bytearray(image)
            torn[where] = data
            yield bytes(torn)


def read_trace(path: Path) -> list[Operation]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [Operation(int(row[1], 16), int(row[2], 16) if row[0] == "P" else None) for row in rows]


def prefixes(before: bytes, operations: list[Operation]) -> Iterator[bytes]:
    """The image after 0, 1, … all operations."""
    image = bytearray(before)
    yield bytes(image)
    for operation in operations:
        operation.apply(image)
        yield bytes(image)


def torn(before: bytes, operations: list[Operation], every: int) -> Iterator[bytes]:
    """Half-done operations: all erases, and one programmed byte in `every`."""
    image = bytearray(before)
    for count, operation in enumerate(operations):
        if operation.value is None or count % every == 0:
            yield from operation.halves(bytes(image))
        operation.apply(image)


@dataclass(frozen=True, slots=True)
class State:
    """All that a device keeps, read over the wire."""

    job: bytes
    spki: bytes
    anchor: dict[str, Any] | None
    lock: int
    beside: tuple[int, bytes]


def observe(device: Device) -> State:
    client = device.client
    found = client.identify()
    try:
        spki = client.public_key()["spki"]
    except RefusedError:
        spki = b""
    try:
        anchor = client.read_anchor()
    except RefusedError:
        anchor = None
    assert found["anc"] == (anchor is not None)
    assert bool(found["key"]) == bool(spki)
    beside = client.key_beside()
    assert bool(beside["st"]) == bool(beside["spki"]) == bool(beside["job"])
    return State(found["job"], spki, anchor, found["lock"], (beside["st"], beside["spki"]))


def boot_on(device: Device, flash: Path, image: bytes) -> State:
    """The device's state when it starts with this flash."""
    device.power_off()
    flash.write_bytes(image)
    device.power_on()
    return observe(device)
