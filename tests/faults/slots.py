"""A slot, its power switch and its devices behind fault points; what changes a device is watched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from fixtures.device import Anchor, Device, Generation, Identity, Service, SignedReport, StoredKey, Tunnelled
from fixtures.power import PowerSwitch
from fixtures.slot import Restarted, Slot, SlotConfig
from station.jobs import RecordKind
from tests.faults import failures
from tests.faults.points import Failure, Points
from tests.faults.watch import Watch
from trust.identity import JobId
from trust.keys import KeyType

T = TypeVar("T")


@dataclass(slots=True)
class FaultySlot:
    """A slot whose links, cycles and devices have fault points."""

    slot: Slot
    points: Points
    watch: Watch

    @property
    def config(self) -> SlotConfig:
        return self.slot.config

    async def open(self) -> Device:
        device = await self.points.call("slot.open", self.slot.open, failures.OPEN, powered=True)
        return FaultyDevice(device, self.points, self.watch)

    async def cycle(self, device: Device) -> Restarted:
        inner = device.device if isinstance(device, FaultyDevice) else device
        back = await self.points.call("slot.cycle", lambda: self.slot.cycle(inner), failures.CYCLE, powered=True)
        return replace(back, device=FaultyDevice(back.device, self.points, self.watch))


@dataclass(slots=True)
class FaultySwitch:
    """A power switch that stays as it was left when the station dies: `dark` is a file while power is off."""

    switch: PowerSwitch
    points: Points
    dark: Path

    async def off(self) -> None:
        await self.points.call("power.off", self._off, failures.SWITCH)

    async def on(self) -> None:
        await self.points.call("power.on", self._on, failures.SWITCH)

    async def _off(self) -> None:
        await self.switch.off()
        self.dark.touch()

    async def _on(self) -> None:
        await self.switch.on()
        self.dark.unlink(missing_ok=True)


@dataclass(slots=True)
class FaultyDevice:
    """A device with a fault point at every verb; its writes are watched."""

    device: Device
    points: Points
    watch: Watch
    job: str = ""

    async def _at(self, verb: str, act: Callable[[], Awaitable[T]], failures: tuple[Failure, ...] = failures.READ) -> T:
        return await self.points.call(f"device.{verb}", act, failures, powered=True)

    async def identify(self) -> Identity:
        return await self._at("identify", self.device.identify)

    async def generate(self, key_type: KeyType, job: JobId, *, replace: bool = False) -> Generation:
        self.watch.job(str(job))
        return await self._at("generate", lambda: self.device.generate(key_type, job, replace=replace), failures.WRITE)

    async def generation(self) -> Generation:
        return await self._at("generation", self.device.generation)

    async def public_key(self) -> StoredKey:
        return await self._at("public-key", self.device.public_key)

    async def prove(self, challenge: bytes, context: str) -> bytes:
        return await self._at(f"prove-{context}", lambda: self.device.prove(challenge, context))

    async def write_anchor(self, anchor: Anchor) -> None:
        self.watch.intended("an anchor was written")
        return await self._at("write-anchor", lambda: self.device.write_anchor(anchor), failures.WRITE)

    async def read_anchor(self) -> Anchor | None:
        return await self._at("read-anchor", self.device.read_anchor)

    async def lock(self, job: JobId) -> None:
        self.watch.record(RecordKind.PIN_RECEIPT, None, str(job), "lock")
        return await self._at("lock", lambda: self.device.lock(job), failures.WRITE)

    async def report(self, challenge: bytes) -> SignedReport:
        return await self._at("report", lambda: self.device.report(challenge))

    @property
    def tunnels(self) -> frozenset[Service]:
        return self.device.tunnels

    async def tunnel_open(self) -> Tunnelled:
        return await self._at("tunnel-open", self.device.tunnel_open, failures.WRITE)

    async def tunnel_step(self, received: bytes = b"") -> Tunnelled:
        return await self._at("tunnel-step", lambda: self.device.tunnel_step(received), failures.TUNNEL)

    async def tunnel_close(self) -> None:
        return await self._at("tunnel-close", self.device.tunnel_close, failures.TUNNEL)

    async def reset(self) -> None:
        return await self._at("reset", self.device.reset, failures.WRITE)

    async def close(self) -> None:
        return await self.points.call("device.close", self.device.close, failures.CLOSE)
