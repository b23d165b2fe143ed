"""Trials in forked children: a plant copied from a template, one insertion a child, killed or not, and what it said.

The parent stays warm and bare: everything is imported and compiled once, no thread, loop or connection is open when it
forks. All trials see the plant at one path (a link that is turned to the trial's copy), so that compiled SQL is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from ledger.engine import Engine
from tests.faults.insertion import DEVICE, Insertion, Outcome, WarmPlant, insert
from tests.flow.bench import Bench
from tests.flow.plant import Plant

_HANGS_S = 15.0


@dataclass(slots=True)
class Rig:
    """A template plant with one device, and trials on copies of it."""

    base: Path
    stations: tuple[str, ...] = ("st-01",)
    leases: int = 1  # units a lease: the first unit at a station needs one
    order: dict[str, Any] = field(default_factory=dict)
    children: int = 0
    _number: int = 0
    _plant: WarmPlant | None = None

    @property
    def template(self) -> Path:
        return self.base / "template"

    @property
    def plant(self) -> WarmPlant:
        assert self._plant is not None, "make the rig first"
        return self._plant

    def make(self) -> Rig:
        """The template, and everything warm."""
        plant = Plant.make(self.template, stations=self.stations, leases=self.leases, **self.order)
        plant.new_device(DEVICE)
        if "collected" in plant.work.origins:
            Bench(plant).give_key(DEVICE)
        for station in self.stations:
            asyncio.run(_keep_order(plant, station))
        plant.close()
        for station in (*self.stations, self.stations[0]):
            warm = self.copy(self.template)
            self._turn(warm)
            self._plant = self._plant or WarmPlant(self.base / "live")
            assert asyncio.run(insert(self.plant, Insertion(station=station))).verdict == "PASS"
            shutil.rmtree(warm)
        return self

    def copy(self, source: Path) -> Path:
        """A copy of a plant's directory for one trial."""
        self._number += 1
        return Path(shutil.copytree(source, self.base / f"trial-{self._number}"))

    def child(self, directory: Path, insertion: Insertion) -> Outcome:
        """One insertion in a child process; `directory` is what it leaves behind."""
        assert threading.active_count() == 1, "fork from a parent with one thread only"
        self._turn(directory)
        self.children += 1
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(here)
            _be_child(self.plant, insertion, there)
        os.close(there)
        said, killed = listen(pid, here)
        return Outcome(killed=True) if killed else msgspec.json.decode(said, type=Outcome)

    def here(self, directory: Path, insertion: Insertion) -> Outcome:
        """One insertion that is not to be killed, in this process: everything but code is made anew for it."""
        self._turn(directory)
        return _insert(self.plant, insertion)

    @contextlib.contextmanager
    def ledger(self, directory: Path, station: str) -> Iterator[Engine]:
        """The station's ledger in a trial's directory; no connection to it outlives the block."""
        self._turn(directory)
        yield self.plant.ledger(station)
        self.plant.close()

    def _turn(self, directory: Path) -> None:
        new = self.base / "live.new"
        new.symlink_to(directory)
        new.replace(self.base / "live")


async def _keep_order(plant: Plant, station: str) -> None:
    store = plant.jobs(station)
    await store.keep_order(plant.order)
    await store.close()


def _be_child(plant: WarmPlant, insertion: Insertion, pipe: int) -> NoReturn:
    os.write(pipe, msgspec.json.encode(_insert(plant, insertion)))
    os._exit(0)


def _insert(plant: WarmPlant, insertion: Insertion) -> Outcome:
    try:
        return asyncio.run(insert(plant, insertion))
    except BaseException:
        return Outcome(crashed=traceback.format_exc())


def listen(pid: int, pipe: int, *, hangs_s: float = _HANGS_S) -> tuple[bytes, bool]:
    """What the child wrote until its end, and whether it was killed; one that hangs is ended and fails the trial."""
    said = b""
    while select.select([pipe], [], [], hangs_s)[0]:
        more = os.read(pipe, 1 << 16)
        if not more:
            break
        said += more
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"a child hung for {hangs_s} s")
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    return said, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
