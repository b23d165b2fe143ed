"""Devices as processes for these tests: flash image, pty pair, native binary or QEMU, power on and off."""

import contextlib
import os
import signal
import struct
import subprocess
import termios
import time
import tty
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.firmware.wire import OS, READ, Client, NoAnswerError

FLASH_SIZE, SECTOR = 1 << 20, 4096
FACTORY = FLASH_SIZE - SECTOR
DEVICE_ID = bytes.fromhex("a1a2a3a4a5a6a7a8a9aaabac")
PRODUCT = 0x1234


def factory_page(device_id: bytes = DEVICE_ID, product: int = PRODUCT) -> bytes:
    page = b"FACT\x01" + device_id + struct.pack(">H", product)
    return page + struct.pack(">I", zlib.crc32(page))


def blank_flash() -> bytes:
    page = factory_page()
    return b"\xff" * FACTORY + page + b"\xff" * (SECTOR - len(page))


class Device:
    """One device on one pty pair: the pair outlives power cuts, as a cable does."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        # QEMU writes flash pages to its file after the chip has said "done": SIGKILL could lose a write that was
        # acknowledged, which no real chip does. SIGTERM lets it finish those and nothing else.
        self.cut = signal.SIGTERM if "qemu-system-arm" in command else signal.SIGKILL
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        mode = termios.tcgetattr(self.slave)
        mode[1] &= ~(termios.OPOST | termios.ONLCR)  # QEMU switches OPOST on again; without ONLCR that does nothing
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)
        os.set_blocking(self.slave, False)  # a device that has died takes no bytes
        self.process: subprocess.Popen[bytes] | None = None
        self.errors = subprocess.DEVNULL if self.cut == signal.SIGTERM else None  # QEMU tells who ended it
        self.client = Client(self.slave)

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=self.master, stdout=self.master, stderr=self.errors)
        self.client = Client(self.slave)

    def power_on(self) -> Client:
        """Starts the device and asks until it answers: what comes before its start is lost, as on a real line."""
        self.start()
        self.wait_ready()
        return self.client

    def wait_ready(self, patience_s: float = 5.0) -> None:
        deadline = time.monotonic() + patience_s
        wait_s = 0.005
        while True:
            try:
                self.client.call(READ, OS, 6, wait_s)
            except NoAnswerError:
                assert time.monotonic() < deadline, f"the device does not answer within {patience_s} s"
                wait_s = min(2 * wait_s, 0.1)
            else:
                return

    def reset(self) -> None:
        self.client.reset()
        self.wait_ready()

    def power_off(self) -> None:
        if self.process is not None:
            self.process.send_signal(self.cut)
            self.process.wait(10)
            self.process = None
        termios.tcflush(self.slave, termios.TCIOFLUSH)

    def power_cycle(self) -> Client:
        self.power_off()
        return self.power_on()

    def close(self) -> None:
        self.power_off()
        os.close(self.master)
        os.close(self.slave)


@contextlib.contextmanager
def powered(command: list[str]) -> Iterator[Device]:
    device = Device(command)
    try:
        device.power_on()
        yield device
    finally:
        device.close()


def native_command(binary: Path, flash: Path, *options: str) -> list[str]:
    return [str(binary), "--flash", str(flash), *options]


def board_command(elf: Path, flash: Path) -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # QEMU would outlive a test run that was killed
        "qemu-system-arm",
        *("-M", "ast1030-evb,fmc-model=w25q80bl,spi-model=m25p05"),
        *("-kernel", str(elf), "-drive", f"file={flash},format=raw,if=mtd"),
        *("-display", "none", "-nodefaults", "-monitor", "none"),
        *("-chardev", "stdio,id=s0,signal=off", "-serial", "chardev:s0"),
    ]
