"""The five parties of the flow, and the two that those call in turn, each behind fault points.

`Watch` looks at the disk before an effect leaves the station: what must be durable first, is. Its findings go to a file
that outlives a killed process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fixtures.device import (
    Anchor,
    Device,
    DeviceBusyError,
    GarbledAnswerError,
    Generation,
    Identity,
    LinkLostError,
    NoAnswerError,
    RefusalReason,
    RefusedError,
    SignedReport,
    StoredKey,
)  # fmt: skip
from fixtures.indicators import Lamp
from fixtures.link import PortBusyError, PortMissingError
from fixtures.power import CycleKind, PowerError, PowerSwitch
from fixtures.slot import Slot, SlotConfig
from hsm.signer import (
    ChallengeRequest,
    CheckpointRequest,
    ReceiptSigner,
    Signer,
    SignerError,
    SignerStatus,
    SignerUnavailableError,
)  # fmt: skip
from hsm.token import Token, TokenError
from station.cloud import Cloud, CloudRefusedError, CloudUnreachableError, PinRecord
from station.jobs import Job, LedgerError, OutboxItem, RecordKind
from station.jobs.store import JobStore
from tests.faults import disk
from tests.faults.points import Failure, Points
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.keys import KeyType
from trust.statement import Completion, Event, PinStatement, Receipt, encode

T = TypeVar("T")
_SAYS = "planted"
_READ = (
    Failure(lambda: NoAnswerError(_SAYS)),
    Failure(lambda: LinkLostError(_SAYS)),
    Failure(lambda: GarbledAnswerError(_SAYS)),
)
_WRITE = (
    *_READ,
    Failure(lambda: RefusedError(RefusalReason.FLASH_FAILED, _SAYS), may_have_applied=False),
    Failure(lambda: DeviceBusyError(_SAYS), may_have_applied=False),
)
_OPEN = (
    Failure(lambda: PortMissingError(_SAYS), may_have_applied=False),
    Failure(lambda: PortBusyError(_SAYS), may_have_applied=False),
)
_CYCLE = (
    Failure(lambda: PowerError(_SAYS)),
    Failure(lambda: NoAnswerError(_SAYS)),
    Failure(lambda: PortMissingError(_SAYS)),
)
_SWITCH = (Failure(lambda: PowerError(_SAYS)),)
_CLOSE = (Failure(lambda: LinkLostError(_SAYS)),)
_SIGNER = (
    Failure(lambda: SignerUnavailableError(_SAYS)),
    Failure(lambda: SignerError(Code.STORE_FAILED, _SAYS)),
    Failure(lambda: SignerError(Code.INTERNAL, _SAYS)),
)
_CLOUD = (
    Failure(lambda: CloudUnreachableError(_SAYS)),
    Failure(lambda: CloudRefusedError(Code.INTERNAL, _SAYS)),
)
_LEDGER = (Failure(lambda: LedgerError(_SAYS)),)
_LAMP = (Failure(lambda: NoAnswerError(_SAYS)),)
_TOKEN = (Failure(lambda: TokenError(_SAYS)),)
_RECEIPTS = (Failure(lambda: SignerUnavailableError(_SAYS)),)


@dataclass(frozen=True, slots=True)
class Watch:
    """What must be on disk before an effect; `findings` is appended to, one line each."""

    ledger: Path
    findings: Path
    on: bool = True

    def job(self, job: str) -> None:
        self._check(lambda: disk.has_job(self.ledger, job), f"a command changed the device before job {job} was durable")

    def record(self, kind: RecordKind, payload: bytes | None, job: str, before: str) -> None:
        wanted = f"{before} before {kind.value} was durable"
        self._check(lambda: disk.has_record(self.ledger, job, kind.value, payload), wanted)

    def completed(self, device: str) -> None:
        registry = self.ledger.with_name("registry.db")  # a unit that was finished elsewhere has its completion there
        done = "SELECT 1 FROM completions WHERE device_id = ?"
        self._check(
            lambda: disk.is_completed(self.ledger, device) or bool(disk.query(registry, done, device)),
            f"green before the completion of {device} was durable",
        )

    def note(self, finding: str) -> None:
        with self.findings.open("a") as out:
            out.write(f"{finding}\n")

    def _check(self, holds: Callable[[], bool], finding: str) -> None:
        if self.on and not holds():
            self.note(finding)


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
        device = await self.points.call("slot.open", self.slot.open, _OPEN, powered=True)
        return FaultyDevice(device, self.points, self.watch)

    async def cycle(self, device: Device) -> CycleKind:
        inner = device.device if isinstance(device, FaultyDevice) else device
        return await self.points.call("slot.cycle", lambda: self.slot.cycle(inner), _CYCLE, powered=True)


@dataclass(slots=True)
class FaultySwitch:
    """A power switch that stays as it was left when the station dies: `dark` is a file while power is off."""

    switch: PowerSwitch
    points: Points
    dark: Path

    async def off(self) -> None:
        await self.points.call("power.off", self._off, _SWITCH)

    async def on(self) -> None:
        await self.points.call("power.on", self._on, _SWITCH)

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

    async def _at(self, verb: str, act: Callable[[], Awaitable[T]], failures: tuple[Failure, ...] = _READ) -> T:
        return await self.points.call(f"device.{verb}", act, failures, powered=True)

    async def identify(self) -> Identity:
        return await self._at("identify", self.device.identify)

    async def generate(self, key_type: KeyType, job: JobId, *, replace: bool = False) -> Generation:
        self.watch.job(str(job))
        return await self._at("generate", lambda: self.device.generate(key_type, job, replace=replace), _WRITE)

    async def generation(self) -> Generation:
        return await self._at("generation", self.device.generation)

    async def public_key(self) -> StoredKey:
        return await self._at("public-key", self.device.public_key)

    async def prove(self, challenge: bytes, context: str) -> bytes:
        return await self._at(f"prove-{context}", lambda: self.device.prove(challenge, context))

    async def write_anchor(self, anchor: Anchor) -> None:
        return await self._at("write-anchor", lambda: self.device.write_anchor(anchor), _WRITE)

    async def read_anchor(self) -> Anchor | None:
        return await self._at("read-anchor", self.device.read_anchor)

    async def lock(self, job: JobId) -> None:
        self.watch.record(RecordKind.PIN_RECEIPT, None, str(job), "lock")
        return await self._at("lock", lambda: self.device.lock(job), _WRITE)

    async def report(self, challenge: bytes) -> SignedReport:
        return await self._at("report", lambda: self.device.report(challenge))

    async def reset(self) -> None:
        return await self._at("reset", self.device.reset, _WRITE)

    async def close(self) -> None:
        return await self.points.call("device.close", self.device.close, _CLOSE)


@dataclass(slots=True)
class FaultySigner:
    """The station's signer."""

    signer: Signer
    points: Points
    watch: Watch

    async def status(self) -> SignerStatus:
        return await self.points.call("signer.status", self.signer.status, _SIGNER)

    async def import_order(self, order: Envelope) -> None:
        return await self.points.call("signer.import-order", lambda: self.signer.import_order(order), _SIGNER)

    async def challenge(self, request: ChallengeRequest) -> bytes:
        name = f"signer.challenge-{request.purpose}"
        return await self.points.call(name, lambda: self.signer.challenge(request), _SIGNER)

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        self.watch.record(RecordKind.INTENT, encode(statement), statement.job, "sign-pin")
        return await self.points.call("signer.sign-pin", lambda: self.signer.sign_pin(statement), _SIGNER)

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        self.watch.record(RecordKind.COMPLETION_INTENT, encode(completion), completion.job, "sign-completion")
        sign = self.signer.sign_completion
        return await self.points.call("signer.sign-completion", lambda: sign(completion, pin, receipt), _SIGNER)

    async def sign_checkpoint(self, request: CheckpointRequest) -> str:
        return await self.points.call("signer.sign-checkpoint", lambda: self.signer.sign_checkpoint(request), _SIGNER)

    async def client_assertion(self, audience: str) -> str:
        return await self.points.call("signer.assertion", lambda: self.signer.client_assertion(audience), _SIGNER)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.signer, name)


@dataclass(slots=True)
class FaultyCloud:
    """The registry as the station sees it."""

    cloud: Cloud
    points: Points
    watch: Watch

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        self.watch.record(RecordKind.PIN, statement.payload, disk.job_of(statement.payload), "cloud.pin")
        return await self.points.call("cloud.pin", lambda: self.cloud.pin(device, statement, order), _CLOUD)

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        self.watch.record(RecordKind.COMPLETION, completion.payload, disk.job_of(completion.payload), "cloud.complete")
        return await self.points.call("cloud.complete", lambda: self.cloud.complete(device, completion), _CLOUD)

    async def history(self, device: DeviceId) -> PinRecord | None:
        return await self.points.call("cloud.history", lambda: self.cloud.history(device), _CLOUD)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)


@dataclass(slots=True)
class FaultyJobs:
    """The station's memory; what has no outside effect is handed through."""

    store: JobStore
    points: Points

    async def _at(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        return await self.points.call(f"ledger.{name}", act, _LEDGER)

    async def open(self, device: DeviceId, order_id: str, *, adopt: JobId | None = None) -> Job:
        return await self._at("open", lambda: self.store.open(device, order_id, adopt=adopt))

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        return await self._at(f"record-{kind.value}", lambda: self.store.record(job, kind, envelope))

    async def note(self, event: Event) -> None:
        return await self._at(f"note-{event.kind}", lambda: self.store.note(event))

    async def records(self, job: JobId) -> dict[RecordKind, Envelope]:
        return await self._at("records", lambda: self.store.records(job))

    async def attempts(self, job: JobId) -> int:
        return await self._at("attempts", lambda: self.store.attempts(job))

    async def pending(self) -> tuple[OutboxItem, ...]:
        return await self._at("pending", self.store.pending)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@dataclass(slots=True)
class FaultyIndicators:
    """Lamps without a jig; a green one is checked against the ledger on disk. `device` is in the slot."""

    points: Points
    watch: Watch
    device: str

    async def show(self, slot: str, lamp: Lamp) -> None:
        if lamp is Lamp.PASS:
            self.watch.completed(self.device)
        await self.points.call(f"lamp.{lamp.value}", _lit, _LAMP)


async def _lit() -> None:
    """Nothing to light."""


@dataclass(slots=True)
class FaultyToken:
    """A token in a signer: what it signs is counted in a file, to be held against the signer's own count."""

    token: Token
    points: Points
    count: Path

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        return self._sign(label, lambda: self.token.sign_ecdsa(label, digest))

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        return self._sign(label, lambda: self.token.sign_ed25519(label, message))

    def _sign(self, label: str, sign: Callable[[], bytes]) -> bytes:
        def counted() -> bytes:
            with self.count.open("a") as out:
                out.write(f"{label}\n")
            return sign()

        return self.points.call_sync(f"token.{label}", counted, _TOKEN)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.token, name)


@dataclass(slots=True)
class FaultyReceiptSigner:
    """The registry's signer, between the registry's two transactions."""

    signer: ReceiptSigner
    points: Points

    def status(self) -> SignerStatus:
        return self.signer.status()

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        name = f"receipts.{receipt.subject}"
        return self.points.call_sync(name, lambda: self.signer.sign_receipt(receipt), _RECEIPTS)
