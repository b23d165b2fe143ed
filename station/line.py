"""What a line works with: the order, the root, and the five parties it speaks to, plus clock and voice.

One `Line` a batch, shared by all slots. `stop` is how one slot's line stop reaches the others: each stops at its next
step boundary, never in the middle of a write.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from fixtures.device import DeviceError
from fixtures.indicators import Indicators, Lamp
from hsm.signer import ChallengeRequest, Signer
from station.cloud import Cloud
from station.events import AnyEvent
from station.faults import Fault, fault
from station.headroom import Headroom
from station.jobs import Job, Jobs
from station.relay import Bounds, Relay
from trust.dsse import Envelope
from trust.identity import JobId
from trust.order import WorkOrder
from trust.root import TrustedRoot


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the flow sees it; tests give another one."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    monotonic: Callable[[], float] = time.monotonic

    def utc(self) -> str:
        """Now as `2026-01-31T12:00:00.123456Z`."""
        return self.now().astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True)
class StopSwitch:
    """The line stop: set once by the first cause, read at every step boundary."""

    cause: Fault | None = None

    def set(self, cause: Fault) -> None:
        """Stop the line; the first cause stays."""
        self.cause = self.cause or cause

    def check(self) -> None:
        """Raise `line-stopped` if the line has been stopped."""
        if self.cause is not None:
            raise fault("line-stopped", self.cause.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Everything that a unit's flow needs beside its slot."""

    station: str
    root: TrustedRoot
    order: Envelope
    work: WorkOrder
    jobs: Jobs
    signer: Signer
    cloud: Cloud
    relay: Relay
    bounds: Bounds = field(default_factory=Bounds)
    indicators: Indicators
    emit: Callable[[AnyEvent], None]
    clock: Clock = field(default_factory=Clock)
    stop: StopSwitch = field(default_factory=StopSwitch)
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)
    in_work: set[JobId] = field(default_factory=set)
    headroom: Headroom
    max_attempts: int
    generation_timeout_s: float
    longest_pause_s: float = 0.1
    """Between two questions to a device that makes a key; the first ones follow each other faster."""

    async def challenge(self, purpose: Literal["pin", "report"], job: Job) -> bytes:
        """A one-use challenge of the signer for this job."""
        request = ChallengeRequest(
            purpose=purpose, order_id=job.order_id, job=str(job.job_id), device_id=str(job.device_id)
        )
        return await self.signer.challenge(request)

    def take_in_hand(self, job: JobId) -> None:
        """Mark a job as in work, so that the outbox leaves it alone; the fault `device-twice` if a slot has it."""
        if job in self.in_work:
            raise fault("device-twice", f"job {job}")
        self.in_work.add(job)

    def numbered(self, job: Job, there: bool) -> None:  # noqa: FBT001 - what the outbox tells
        """Whether the registry has a number of its order for a job's pin: without one, no further unit is begun."""
        if job.order_id == self.work.order_id:
            (self.headroom.numbered if there else self.headroom.numberless)(job.device_id)

    async def light(self, slot: str, lamp: Lamp) -> None:
        """Light a slot's lamp; the fault `indicator-failed` if the jig does not obey."""
        try:
            await self.indicators.show(slot, lamp)
        except DeviceError as error:
            raise fault("indicator-failed", str(error)) from error

    @property
    def order_sha256(self) -> str:
        """How statements refer to the order."""
        return self.order.payload_sha256
