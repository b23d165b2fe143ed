"""A plant with hands: what a test does to units, parties and files to make a fault come about. Holds no assertion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.device import Device
from fixtures.families.smp.emulated import flash
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot
from fixtures.slot import Restarted, Slot
from hsm.signer import SignerUnavailableError
from station.cloud import CloudUnreachableError
from station.events import AnyEvent, Step, StepDone, UnitFinished
from tests.flow.plant import Parties, Plant, attempt, make_order
from trust.statement import envelope

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(slots=True)
class Bench:
    """One station's plant; parties are opened inside the running loop and closed by `async with`."""

    plant: Plant
    parties_of: dict[str, Parties] = field(default_factory=dict)

    @classmethod
    def make(cls, directory: Path, stations: tuple[str, ...] = ("st-01",), **order: Any) -> Bench:
        directory.mkdir(exist_ok=True, parents=True)
        plant = Plant.make(directory, stations=stations, **order)
        plant.new_device()
        return cls(plant)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for parties in self.parties_of.values():
            with contextlib.suppress(AttributeError):
                await parties.jobs.close()  # type: ignore[attr-defined]
        self.plant.close()

    def parties(self, station: str = "st-01") -> Parties:
        if station not in self.parties_of:
            self.parties_of[station] = self.plant.parties(station)
        return self.parties_of[station]

    def change(self, station: str = "st-01", **parties: Any) -> None:
        """Put other parties in the station's line."""
        self.parties_of[station] = replace(self.parties(station), **parties)

    def slot(self, faults: Faults | None = None, name: str = "dev-1", **options: Any) -> MemorySlot:
        return self.plant.slot(name, faults, **options)

    async def insert(self, slot: Slot | None = None, station: str = "st-01", **changes: Any) -> UnitFinished:
        return await attempt(self.plant, self.parties(station), slot or self.slot(), station, **changes)

    def at(self, step: Step, act: Callable[[], None]) -> Callable[[AnyEvent], None]:
        """A listener for the line that acts when a step is done."""

        def listen(event: AnyEvent) -> None:
            self.plant.events.append(event)
            if isinstance(event, StepDone) and event.step is step:
                act()

        return listen

    def flash(self, name: str = "dev-1", **changes: Any) -> flash.Flash:
        """The device's memory, edited behind its back if there are changes."""
        path = self.plant.directory / f"{name}.flash"
        held = msgspec.structs.replace(flash.load(path), **changes)
        flash.store(path, held)
        return held

    def give_key(self, name: str = "dev-1", *, job: bytes | None = None, private: bytes | None = None) -> bytes:
        """Put a key into the device that nobody knows, bound to this job or to a random one; the private key."""
        held = self.flash(name).key
        private = private or new_private()
        bound = job or (held.job if held else b"\x5a" * 16)
        self.flash(name, key=flash.KeyRecord(1, private, bound))
        return private

    def another_order(self, **changes: Any) -> Plant:
        """The same plant under order-2; the signers know it unless `imported=False`."""
        imported = changes.pop("imported", True)
        other = Plant(self.plant.directory)
        stations = tuple(other.root.root.stations)
        same = {"cloud_key": self.plant.work.cloud_key, "authority_key": self.plant.work.authority_key}
        other.work = make_order(other.root, stations, **{"order_id": "order-2", **same, **changes})
        other.order = envelope(other.work)
        for name in stations if imported else ():
            other.signer(name).verbs.import_order(other.order)
        other.close()
        return other


def new_private() -> bytes:
    """A P-256 key in DER PKCS#8."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@dataclass(slots=True)
class ShakyCloud:
    """A registry whose answers stop: the verbs named in `away` get none, before the call or (`after`) once it was taken."""

    cloud: Any
    away: set[str] = field(default_factory=set)
    after: bool = False

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self.cloud, verb)  # what it cannot be asked, this one cannot either

        async def ask(*args: Any) -> Any:
            if verb in self.away and not self.after:
                raise CloudUnreachableError(f"{verb}: no answer")
            answer = await real(*args)
            if verb in self.away:
                raise CloudUnreachableError(f"{verb}: the answer was lost")
            return answer

        return ask


@dataclass(slots=True)
class WrappedSlot:
    """A slot whose devices go through `wrap`, or whose opening raises."""

    slot: MemorySlot
    wrap: Callable[[Device], Any] = lambda device: device
    refuses: Exception | None = None

    @property
    def config(self) -> Any:
        return self.slot.config

    async def open(self) -> Any:
        if self.refuses is not None:
            raise self.refuses
        return self.wrap(await self.slot.open())

    async def cycle(self, device: Any) -> Restarted:
        back = await self.slot.cycle(device)
        return replace(back, device=self.wrap(back.device))


@dataclass(slots=True)
class Meddled:
    """A device before whose verb somebody meddles with it."""

    device: Device
    verb: str
    meddle: Callable[[], object]

    def __getattr__(self, name: str) -> Any:
        if name == self.verb:
            self.meddle()
        return getattr(self.device, name)


@dataclass(slots=True)
class Down:
    """A signer that is down for one verb."""

    signer: Any
    verb: str

    def __getattr__(self, name: str) -> Any:
        async def down(*_: Any) -> Any:
            raise SignerUnavailableError("for a test")

        return down if name == self.verb else getattr(self.signer, name)


class Looking:
    """A device that takes a moment to say who it is, so that the ledger is done first."""

    def __init__(self, device: Any, looks: list[str]) -> None:
        self._device, self._looks = device, looks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    async def identify(self) -> Any:
        self._looks.append("look")
        await asyncio.sleep(0.05)
        return await self._device.identify()
