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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from fixtures.families.smp.driver import Patience
from fixtures.families.smp.emulated import device as emulated
from fixtures.memory_slot import MemorySlot
from hsm.signer import CheckpointRequest, ReceiptSigner, SignerError, SignerUnavailableError
from hsm.token import Token
from ledger.engine import Engine
from ledger.publish import Head
from registry.database import Database
from station.events import AnyEvent, Step, StepDone, UnitFinished
from station.floor import Floor
from station.jobs import Jobs, LedgerError
from station.jobs.receipts import receipt_problem
from station.jobs.store import JobStore
from station.line import Line
from station.outbox import Outbox
from station.port import Batch
from station.voice import Voice
from tests.faults import disk
from tests.faults.parties import (
    FaultyCloud,
    FaultyIndicators,
    FaultyJobs,
    FaultyReceiptSigner,
    FaultySigner,
    FaultySlot,
    FaultySwitch,
    FaultyToken,
    Watch,
)
from tests.faults.points import Met, Mode, Plan, Points
from tests.flow.plant import LocalCloud, Plant
from trust.signed_note import NoteKey

DEVICE = "dev-1"
FINDINGS = "findings.txt"
SIGNED = "signed.txt"
PATIENT = Patience(read_s=(0.2, 0.5), sign_s=(0.3, 0.5), write_s=(0.5,))
DARK = Patience(read_s=(0.03, 0.03), sign_s=(0.03, 0.03), write_s=(0.03,))  # its device will not answer: no use waiting
_HANGS_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """One insertion of the device at one station. `taken_after`: the unit is pulled out when that step is done."""

    station: str = "st-01"
    plan: Plan | None = None
    taken_after: Step | None = None
    only_outbox: bool = False
    survey: bool = False
    retries: int = 0
    watched: bool = True
    wrap_jobs: Callable[[JobStore], Jobs] = lambda store: store


class Outcome(msgspec.Struct, kw_only=True):
    """What became of a child. `crashed` is a traceback; `points` are those that it met,
    and `disks`, if it surveyed, digests of all disks as it met each.
    """

    killed: bool = False
    crashed: str = ""
    verdict: str = ""
    code: str = ""
    step: str = ""
    detail: str = ""
    already: bool = False
    exit_code: int = 0
    points: list[Met] = msgspec.field(default_factory=list)
    disks: list[str] = msgspec.field(default_factory=list)

    def __str__(self) -> str:
        """For a violation's sentence."""
        if self.killed:
            return "killed"
        return self.crashed or f"{self.verdict} {self.code} {self.step} {self.detail}".strip()


class QuietOutbox(Outbox):
    """Sends when the batch ends only, so that the points of a run come in one order."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class WarmPlant(Plant):
    """A plant whose engines and tokens outlive a trial; connections do not."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.points = Points()
        self._tokens: dict[str, Token] = {}
        self._ledgers: dict[str, Engine] = {}
        self._database: Database | None = None

    def token(self, place: str) -> Token:
        if place not in self._tokens:
            self._tokens[place] = super().token(place)
        return FaultyToken(self._tokens[place], self.points, self.directory / place / SIGNED)

    def receipt_signer(self) -> ReceiptSigner:
        return FaultyReceiptSigner(super().receipt_signer(), self.points)

    def ledger(self, station: str = "st-01") -> Engine:
        if station not in self._ledgers:
            self._ledgers[station] = super().ledger(station)
        return self._ledgers[station]

    def registry_database(self) -> Database:
        if self._database is None:
            self._database = super().registry_database()
        return self._database

    def close(self) -> None:
        super().close()
        for engine in self._ledgers.values():
            engine.dispose()


@dataclass(slots=True)
class Rig:
    """A template plant with one device, and trials on copies of it."""

    base: Path
    stations: tuple[str, ...] = ("st-01",)
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
        plant = Plant.make(self.template, stations=self.stations, **self.order)
        plant.new_device(DEVICE)
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


async def insert(plant: WarmPlant, insertion: Insertion) -> Outcome:
    """One insertion in this process, through the real floor; the outbox is drained and the log published at its end."""
    points = plant.points = Points(insertion.plan)
    place, station = plant.directory, insertion.station
    watch = Watch(place / f"{station}.db", place / FINDINGS, insertion.watched)
    device = emulated.EmulatedDevice(place / f"{DEVICE}.flash")
    points.power_off = device.power_off
    disks: list[str] = []
    if insertion.survey:
        points.look = lambda: disks.append(disk.digest(place))
    bare = _slot(place, device, points, _patience(insertion.plan))
    store, said = plant.jobs(station), list[AnyEvent]()
    jobs = FaultyJobs(insertion.wrap_jobs(store), points)  # type: ignore[arg-type]
    line = plant.line_of(
        station,
        jobs=jobs,
        signer=FaultySigner(plant.signer(station), points, watch),
        cloud=FaultyCloud(LocalCloud(plant.registry()), points, watch),
        indicators=FaultyIndicators(points, watch, _device_id(place)),
        emit=_Taking(insertion, bare, said).emit,
    )
    floor = Floor(line, [FaultySlot(bare, points, watch)], _outbox(line, store, jobs, plant), Voice())
    slots = ("none",) if insertion.only_outbox else ()
    try:
        finished = await floor.run(Batch(count=1, slots=slots, retries=insertion.retries))
        await _publish(line, store)
    finally:
        await store.close()
        plant.close()
    return _outcome(said, finished.exit_code, points.met, disks)


def _slot(place: Path, device: emulated.EmulatedDevice, points: Points, patience: Patience) -> MemorySlot:
    """The slot as the last station left it: a switch that was off stays off."""
    slot, dark = MemorySlot(DEVICE, device, patience=patience), place / f"{DEVICE}.dark"
    if dark.exists():
        device.power_off()
    assert slot._switch is not None
    slot._switch = FaultySwitch(slot._switch, points, dark)  # type: ignore[assignment]
    return slot


async def _publish(line: Line, store: JobStore) -> None:
    """Have the log's head signed, as the station does at the end of a batch; next time will do if it cannot be now."""

    async def sign(head: Head) -> str:
        return await line.signer.sign_checkpoint(
            CheckpointRequest(
                origin=head.origin, size=head.size, root_hash=head.root_hash, old_size=head.old_size, proof=head.proof
            )
        )

    keys = line.root.root.station(line.station)
    with contextlib.suppress(SignerError, SignerUnavailableError):
        await store.publish(NoteKey(line.root.root.log_origin(line.station), keys.log), sign)


@dataclass(frozen=True, slots=True)
class _Taking:
    """Listens to the line and pulls the unit out when its step is done."""

    insertion: Insertion
    slot: MemorySlot
    said: list[AnyEvent]

    def emit(self, event: AnyEvent) -> None:
        self.said.append(event)
        if isinstance(event, StepDone) and event.step is self.insertion.taken_after:
            self.slot.unplug()


def _patience(plan: Plan | None) -> Patience:
    return DARK if plan is not None and plan.mode in {Mode.POWER_LOST_BEFORE, Mode.POWER_LOST_AFTER} else PATIENT


def _outbox(line: Line, store: JobStore, jobs: FaultyJobs, plant: Plant) -> Callable[..., Outbox]:
    def make(broken: Callable[[LedgerError], None]) -> Outbox:
        return QuietOutbox(
            jobs,
            line.cloud,
            verify_receipt=lambda item, receipt: receipt_problem(line.root, item.kind, item.envelope, receipt),
            order_of=store.order,
            stamp=plant.stamp(line.station),
            broken=broken,
            in_work=line.in_work.__contains__,
        )

    return make


def _device_id(place: Path) -> str:
    return emulated.flash.load(place / f"{DEVICE}.flash").device_id.hex()


def _outcome(said: list[AnyEvent], exit_code: int, met: list[Met], disks: list[str]) -> Outcome:
    last = next((each for each in reversed(said) if isinstance(each, UnitFinished)), None)
    if last is None:
        return Outcome(exit_code=exit_code, points=met, disks=disks)
    return Outcome(
        verdict=last.verdict.value, code=last.code, step=last.step or "", detail=last.detail, already=last.already,
        exit_code=exit_code, points=met, disks=disks,
    )  # fmt: skip


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
