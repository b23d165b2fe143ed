"""The four ways to a device that must keep one contract: memory, pty, host process, emulated board."""

import contextlib
import dataclasses
import fcntl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fixtures.bench import boards
from fixtures.bench.bench import SLOTS_FILE, Population, running_bench
from fixtures.bench_power import BenchPowerSwitch
from fixtures.families.smp.emulated.device import EmulatedDevice, create
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot, MemorySwitch
from fixtures.slot import Slot
from fixtures.slots import SerialSlot, read_slots
from trust.identity import DeviceId

FIRMWARE = Path(__file__).resolve().parents[2] / "fixtures" / "firmware"
PRODUCT = 0x1234
KINDS = ("memory", "pty", "native", "emulated")
HARDWARE = {
    "memory": "in-process device",
    "pty": "in-process device",
    "native": "linux-native",
    "emulated": "ast1030-evb (QEMU)",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """A slot with one device, and the hands that can pull its plug."""

    kind: str
    slot: Slot
    slot_without_switch: Slot
    device_id: DeviceId
    power_off: Callable[[], Awaitable[None]]
    power_on: Callable[[], Awaitable[None]]
    unplug: Callable[[], Awaitable[None]]
    plug: Callable[[], Awaitable[None]]


def build(target: str) -> None:
    """`make` the firmware; one test worker at a time."""
    with (FIRMWARE / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(["make", "-s", "-C", FIRMWARE, target], capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"make {target}:\n{made.stdout}{made.stderr}"


def board_of(kind: str, faults: Faults | None = None) -> boards.Board:
    """What sits in the bench's slot."""
    if kind == "pty":
        return boards.InProcessBoard(faults)
    build(kind)
    return boards.board(kind)


@contextlib.asynccontextmanager
async def open_nest(kind: str, directory: Path) -> AsyncIterator[Nest]:
    """A fresh device of this kind, with power."""
    nest = memory_nest(directory) if kind == "memory" else bench_nest(kind, board_of(kind), directory)
    async with nest as ready:
        yield ready


@contextlib.asynccontextmanager
async def memory_nest(directory: Path, faults: Faults | None = None) -> AsyncIterator[Nest]:
    device_id = DeviceId(b"in-process-1")
    create(directory / "flash", device_id=device_id.raw, product=PRODUCT)
    device = EmulatedDevice(directory / "flash", faults)
    slot, switch = MemorySlot("slot-01", device), MemorySwitch(device)
    bare = MemorySlot("slot-01", device, has_switch=False)

    async def unplug() -> None:
        await switch.off()
        slot.unplug()

    async def plug() -> None:
        slot.plug()
        await switch.on()

    yield Nest(
        kind="memory", slot=slot, slot_without_switch=bare, device_id=device_id,
        power_off=switch.off, power_on=switch.on, unplug=unplug, plug=plug,
    )  # fmt: skip
    device.power_off()


@contextlib.asynccontextmanager
async def bench_nest(kind: str, board: boards.Board, directory: Path) -> AsyncIterator[Nest]:
    devices = Population(count=1, product=PRODUCT)
    async with running_bench(directory, board, devices) as slots:
        (config,) = read_slots(directory / SLOTS_FILE)
        control = Path(config.power.removeprefix("bench:"))
        switch = BenchPowerSwitch(control, config.name)
        identity = await slots[config.name].first_answer()
        yield Nest(
            kind=kind, slot=SerialSlot(config), device_id=identity.device_id,
            slot_without_switch=SerialSlot(dataclasses.replace(config, power="")),
            power_off=switch.off, power_on=switch.on, unplug=switch.unplug, plug=switch.plug,
        )  # fmt: skip
