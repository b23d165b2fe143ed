"""RSA devices (the native firmware) whose station dies while they make their key, or that lose power then as well.

Run by `python -m tests.faults.generating`. The station is killed right after the device's "started"; the device goes on,
and the next station process finds it busy, or with the key. An RSA key takes 10 to 500 ms of the processor, at random, and
a station process longer to start: the device gets a tenth of the time. Trials go on until both cases were met often enough.
Never builds the firmware.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fixtures.bench_power import BenchPowerSwitch
from tests.faults import disk
from tests.faults.points import Mode, Plan
from tests.faults.real import finish, judge
from tests.faults.result import Result
from tests.faults.site import Site, insert, running_site

_STARTED = Plan("device.generate 1", Mode.KILLED_AFTER)
_HEADER = struct.Struct(">4sBBHII")
_KEY, _VERSION = 1, 1


def key_records(flash: bytes) -> Iterator[bool]:
    """Each record of a key in a flash image (docs/wire.md, section 6), and whether it is whole."""
    at = -1
    while (at := flash.find(b"PREC", at + 1)) >= 0:
        _, kind, version, _, _, length = _HEADER.unpack_from(flash, at)
        end = at + _HEADER.size + length
        if (kind, version) == (_KEY, _VERSION):
            yield zlib.crc32(flash[at:end]) == int.from_bytes(flash[end : end + 4])


@contextlib.contextmanager
def slow(flash: Path) -> Iterator[None]:
    """The device on this flash runs a tenth of the time, until it loses power."""
    device, here = _process_on(flash), os.getpid()
    holder = os.fork()  # no thread: stations are forked from this process
    if holder == 0:
        with contextlib.suppress(ProcessLookupError):
            while os.getppid() == here:
                os.kill(device, signal.SIGSTOP)
                time.sleep(0.045)
                os.kill(device, signal.SIGCONT)
                time.sleep(0.005)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(device, signal.SIGCONT)


def _process_on(flash: Path) -> int:
    """The one process whose command names this flash file."""
    (found,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(flash).encode() in _command(entry).split(b"\0")
    ]
    return found


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def killed_while_it_generates(site: Site, slot: str, result: Result, *, cut: bool) -> None:
    """One device: the station dies, power goes or does not, and the next insertion brings it to its end."""
    with slow(site.flash(slot)):
        first = insert(site, slot, _STARTED)
        result.children += 1
        found = [] if first.killed else [f"was not killed: {first}"]
        if cut:
            asyncio.run(BenchPowerSwitch(site.bench / "control.sock", slot).off())
        kept = [*key_records(site.flash(slot).read_bytes())]
        if cut and not all(kept):
            found.append("half a key in flash")
        again = insert(site, slot)
    names = [each.key for each in again.points]
    asked = "device.generate 1" in names
    before_the_job = names[: names.index("ledger.begin 1")] if "ledger.begin 1" in names else names
    case = _case(cut=cut, kept=bool(kept), waited="device.generation 1" in before_the_job)
    result.verdicts[case] = result.verdicts.get(case, 0) + 1
    if asked != (case == "cut while it generated"):
        found.append(f"{case}, and the key was asked for {'again' if asked else 'never'}")
    device = site.device(slot)
    if len(disk.jobs(site.ledger, device)) != 1 or disk.events(site.ledger, "key-replaced"):
        found.append("not the job of the first attempt")
    name = f"{slot}, {case}"
    result.violations += [f"{name}: {each}" for each in found]
    judge(site, slot, name, again, result)


def _case(*, cut: bool, kept: bool, waited: bool) -> str:
    if cut:
        return "cut after the key" if kept else "cut while it generated"
    return "waited for the key" if waited else "the key was there"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="generating", description=__doc__)
    parser.add_argument("--devices", type=int, default=16, help="new devices on the bench, one a trial")
    parser.add_argument("--wanted", type=int, default=1, help="end when each case was met so often")
    parser.add_argument("--part", default="0/1", help="for the test's sake: there is one part")
    chosen = parser.parse_args(argv)
    result = Result(name="generating")
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ks-") as name,
        running_site(Path(name), chosen.devices, "rsa") as site,
    ):
        wanted = ("waited for the key", "cut while it generated")
        while site.slots and min(result.verdicts.get(each, 0) for each in wanted) < chosen.wanted:
            least = min(wanted, key=lambda each: result.verdicts.get(each, 0))
            killed_while_it_generates(site, site.slots.pop(), result, cut=least == wanted[1])
        finish(site, result)
    result.points = len(wanted)
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
