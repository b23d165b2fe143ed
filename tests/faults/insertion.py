"""One insertion of the device at one station, in this process: the real floor between parties with fault points."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fixtures.families.smp.driver import Patience
from fixtures.families.smp.emulated import device as emulated
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot
from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from hsm.token import Token
from ledger.engine import Engine
from registry.database import Database
from station.events import AnyEvent, Step, StepDone, UnitFinished
from station.floor import Floor
from station.jobs import Jobs
from station.jobs.store import JobStore
from station.line import Line
from station.port import Batch
from station.voice import Voice
from tests.faults import disk
from tests.faults.outboxes import BesidePoints, Gate, Kind, Places, make_outbox
from tests.faults.parties import (
    FaultyCloud,
    FaultyIndicators,
    FaultyJobs,
    FaultyReceiptSigner,
    FaultyRelay,
    FaultySigner,
    FaultyToken,
)
from tests.faults.points import Met, Mode, Plan, Points
from tests.faults.slots import FaultySlot, FaultySwitch
from tests.faults.watch import Watch
from tests.flow.handshake_causes import device_key
from tests.flow.plant import Plant
from trust.signed_note import NoteKey

DEVICE = "dev-1"
FINDINGS = "findings.txt"
SIGNED = "signed.txt"
PATIENT = Patience(read_s=(0.2, 0.5), sign_s=(0.3, 0.5), write_s=(0.5,))
DARK = Patience(read_s=(0.03, 0.03), sign_s=(0.03, 0.03), write_s=(0.03,))  # its device will not answer: no use waiting
LEFT_DARK = Patience(read_s=(0.02, 0.15), sign_s=(0.3, 0.5), write_s=(0.5,))  # silent at first, then as any


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """One insertion of the device at one station. `taken_after`: the unit is pulled out when that step is done; `places`
    are those where an outbox that is led makes its calls.
    """

    station: str = "st-01"
    plan: Plan | None = None
    taken_after: Step | None = None
    only_outbox: bool = False
    survey: bool = False
    retries: int = 0
    watched: bool = True
    wrap_jobs: Callable[[JobStore], Jobs] = lambda store: store
    outbox: Kind = "quiet"
    places: Places = ()


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


async def insert(plant: WarmPlant, insertion: Insertion) -> Outcome:
    """One insertion in this process, through the real floor; the outbox is drained and the log published at its end."""
    points = plant.points = Points(insertion.plan)
    place, station = plant.directory, insertion.station
    watch = Watch(place / f"{station}.db", place / FINDINGS, insertion.watched)
    device = emulated.EmulatedDevice(place / f"{DEVICE}.flash", _key_soon(plant))
    points.power_off = device.power_off
    disks: list[str] = []
    if insertion.survey:
        points.look = lambda: disks.append(disk.digest(place))
    bare = _slot(place, device, points, insertion.plan)
    store, said = plant.jobs(station), list[AnyEvent]()
    wrapped: Any = insertion.wrap_jobs(store)
    cloud = plant.cloud()
    line = plant.line_of(
        station,
        jobs=FaultyJobs(wrapped, points),
        signer=FaultySigner(plant.signer(station), points, watch),
        cloud=FaultyCloud(cloud, points, watch),
        relay=FaultyRelay(plant.relay(station), points),
        indicators=FaultyIndicators(points, watch, _device_id(place)),
        emit=_Taking(insertion, bare, said).emit,
    )
    gate = Gate(dict(insertion.places))
    points.pause = gate.lead
    beside: Any = points if insertion.outbox == "quiet" else BesidePoints(points, gate)
    make = make_outbox(
        insertion.outbox, gate, line=line, jobs=FaultyJobs(wrapped, beside), cloud=FaultyCloud(cloud, beside, watch),
        stamp=plant.stamp(station), place=place,
    )  # fmt: skip
    floor = Floor(line, [FaultySlot(bare, points, watch)], make, Voice())
    slots = ("none",) if insertion.only_outbox else ()
    try:
        finished = await floor.run(Batch(count=1, slots=slots, retries=insertion.retries))
        await _publish(line, store)
    finally:
        await store.close()
        plant.close()
    return _outcome(said, finished.exit_code, points.met, disks)


def _key_soon(plant: Plant) -> Faults | None:
    """RSA keys are made once a process: a new one takes longer than all else of a trial."""
    return Faults(weak_key=device_key()) if plant.work.key_type == "rsa-2048" else None


def _slot(place: Path, device: emulated.EmulatedDevice, points: Points, plan: Plan | None) -> MemorySlot:
    """The slot as the last station left it: a switch that was off stays off."""
    dark = place / f"{DEVICE}.dark"
    loses_power = plan is not None and plan.mode in {Mode.POWER_LOST_BEFORE, Mode.POWER_LOST_AFTER}
    slot = MemorySlot(DEVICE, device, patience=DARK if loses_power else LEFT_DARK if dark.exists() else PATIENT)
    if dark.exists():
        device.power_off()
    assert slot._switch is not None
    slot._switch = FaultySwitch(slot._switch, points, dark)  # type: ignore[assignment]
    return slot


async def _publish(line: Line, store: JobStore) -> None:
    """Have the log's head signed, as the station does at the end of a batch; next time will do if it cannot be now."""

    keys = line.root.root.station(line.station)
    with contextlib.suppress(SignerError, SignerUnavailableError):
        await store.publish(NoteKey(line.root.root.log_origin(line.station), keys.log), line.signer.sign_checkpoint)


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
