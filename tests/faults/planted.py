"""Stations with a planted fault, for the negative controls: they work as long as nothing goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from station.jobs import Job, OnRecord, RecordKind
from station.jobs.store import JobStore
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId


@dataclass(slots=True)
class LateIntent:
    """Keeps the intent in memory until the signed statement is there: recorded, but not ahead."""

    store: JobStore
    kept: list[tuple[JobId, Envelope]] = field(default_factory=list)

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        if kind is RecordKind.INTENT:
            self.kept.append((job, envelope))
            return
        while self.kept:
            held, intent = self.kept.pop()
            await self.store.record(held, RecordKind.INTENT, intent)
        await self.store.record(job, kind, envelope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@dataclass(slots=True)
class ForgottenJob:
    """Keeps a new job in memory until it has something to record."""

    store: JobStore
    kept: dict[JobId, Job] = field(default_factory=dict)

    async def begin(self, device: DeviceId, order_id: str, *, slot: str, adopt: JobId | None = None) -> OnRecord:
        there = [each for each in await self.store.of_device(device) if each.job.order_id == order_id]
        if there or adopt is not None:
            return await self.store.begin(device, order_id, slot=slot, adopt=adopt)
        job = Job(job_id=JobId.new(), device_id=device, order_id=order_id, adopted=False)
        self.kept[job.job_id] = job
        return OnRecord(job=job, attempts=1, records={})

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        held = self.kept.pop(job, None)
        if held is not None:
            await self.store.begin(held.device_id, held.order_id, slot="1", adopt=held.job_id)
        await self.store.record(job, kind, envelope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)
