"""Signer, registry, ledger and lamps behind fault points, and the two that signer and registry call in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fixtures.device import Service
from fixtures.indicators import Lamp
from hsm.signer import ChallengeRequest, ReceiptSigner, Signer, SignerError, SignerStatus
from hsm.token import Token
from station.cloud import Cloud, PinRecord
from station.jobs import OnRecord, OutboxItem, RecordKind
from station.jobs.store import JobStore
from station.relay import Carried, Relay
from tests.faults import disk, failures
from tests.faults.points import Points
from tests.faults.watch import Watch
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.lease import Lease
from trust.signed_note import Head
from trust.statement import Completion, Event, PinStatement, Receipt, encode

T = TypeVar("T")


@dataclass(slots=True)
class FaultySigner:
    """The station's signer."""

    signer: Signer
    points: Points
    watch: Watch

    async def status(self) -> SignerStatus:
        return await self.points.call("signer.status", self.signer.status, failures.SIGNER)

    async def import_order(self, order: Envelope) -> None:
        return await self.points.call("signer.import-order", lambda: self.signer.import_order(order), failures.SIGNER)

    async def challenge(self, request: ChallengeRequest) -> bytes:
        name = f"signer.challenge-{request.purpose}"
        return await self.points.call(name, lambda: self.signer.challenge(request), failures.SIGNER)

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        self.watch.record(RecordKind.INTENT, encode(statement), statement.job, "sign-pin")
        return await self.points.call("signer.sign-pin", lambda: self.signer.sign_pin(statement), failures.SIGNER)

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        self.watch.record(RecordKind.COMPLETION_INTENT, encode(completion), completion.job, "sign-completion")
        sign = self.signer.sign_completion
        return await self.points.call("signer.sign-completion", lambda: sign(completion, pin, receipt), failures.SIGNER)

    async def sign_checkpoint(self, request: Head) -> str:
        return await self.points.call(
            "signer.sign-checkpoint", lambda: self.signer.sign_checkpoint(request), failures.SIGNER
        )

    async def lease_request(self) -> Envelope:
        return await self.points.call("signer.lease-request", self.signer.lease_request, failures.SIGNER)

    async def import_lease(self, lease: Envelope) -> None:
        return await self.points.call("signer.import-lease", lambda: self.signer.import_lease(lease), failures.SIGNER)

    async def client_assertion(self, audience: str) -> str:
        return await self.points.call(
            "signer.assertion", lambda: self.signer.client_assertion(audience), failures.SIGNER
        )

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
        return await self.points.call("cloud.pin", lambda: self.cloud.pin(device, statement, order), failures.CLOUD)

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        self.watch.record(RecordKind.COMPLETION, completion.payload, disk.job_of(completion.payload), "cloud.complete")
        return await self.points.call("cloud.complete", lambda: self.cloud.complete(device, completion), failures.CLOUD)

    async def history(self, device: DeviceId) -> PinRecord | None:
        return await self.points.call("cloud.history", lambda: self.cloud.history(device), failures.CLOUD)

    async def lease(self, request: Envelope) -> Envelope:
        return await self.points.call("cloud.lease", lambda: self.cloud.lease(request), failures.CLOUD)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)


@dataclass(slots=True)
class FaultyRelay:
    """The device service as the station reaches it."""

    relay: Relay
    points: Points

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        return await self.points.call(
            "relay.open", lambda: self.relay.open(device, job, service, first), failures.RELAY
        )

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        name = "relay.end" if ended else "relay.step"
        step = self.relay.step
        return await self.points.call(name, lambda: step(handshake, received, ended=ended), failures.RELAY)


@dataclass(slots=True)
class FaultyJobs:
    """The station's memory; what has no outside effect is handed through."""

    store: JobStore
    points: Points

    async def _at(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        return await self.points.call(f"ledger.{name}", act, failures.LEDGER)

    async def begin(self, device: DeviceId, order_id: str, *, slot: str, adopt: JobId | None = None) -> OnRecord:
        return await self._at("begin", lambda: self.store.begin(device, order_id, slot=slot, adopt=adopt))

    async def record(self, job: JobId, kind: RecordKind, envelope: Envelope) -> None:
        return await self._at(f"record-{kind.value}", lambda: self.store.record(job, kind, envelope))

    async def note(self, event: Event) -> None:
        return await self._at(f"note-{event.kind}", lambda: self.store.note(event))

    async def keep_paper(self, paper: Envelope) -> None:
        return await self._at("keep-paper", lambda: self.store.keep_paper(paper))

    async def of_device(self, device: DeviceId) -> tuple[OnRecord, ...]:
        return await self._at("of-device", lambda: self.store.of_device(device))

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        return await self._at("told-of", lambda: self.store.told_of(device, kinds))

    async def order(self, order_id: str) -> Envelope | None:
        return await self._at("order", lambda: self.store.order(order_id))

    async def pending(self, after: int = -1, most: int | None = None) -> tuple[OutboxItem, ...]:
        return await self._at("pending", lambda: self.store.pending(after, most))

    async def waiting(self) -> int:
        return await self._at("waiting", self.store.waiting)

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
        await self.points.call(f"lamp.{lamp.value}", _lit, failures.LAMP)


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

        return self.points.call_sync(f"token.{label}", counted, failures.TOKEN)

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
        return self.points.call_sync(name, lambda: self.signer.sign_receipt(receipt), failures.RECEIPTS)

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        return self.points.call_sync("receipts.many", lambda: self.signer.sign_receipts(receipts), failures.RECEIPTS)

    def sign_lease(self, lease: Lease) -> Envelope:
        return self.points.call_sync("receipts.lease", lambda: self.signer.sign_lease(lease), failures.RECEIPTS)
