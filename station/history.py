"""What ledger and registry know about one device, each signature checked against the trust root. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from station.cloud import Cloud, CloudRefusedError, CloudUnreachableError
from station.faults import Fault, fault
from station.job_state import job_state
from station.jobs import OnRecord, RecordKind
from station.jobs.store import JobStore
from station.rework.bench import ENDED
from station.rework.now_held import KnowsDevices, now_held
from station.shown_handshake import key_of, shown
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, Event, PinStatement, StatementError, read

_RECEIPTS = {RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_RECEIPT}


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a job."""

    kind: str
    sha256: str
    checked: str


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One job with its records. `state` and `text` are `station.job_state`'s; `emulated` is None before the intent.

    `attempts` were made until it passed, or so far; `verified_again` counts the insertions after that. `handshake`:
    what the completion says of it, judged; empty without one.
    """

    job: str
    order_id: str
    adopted: bool
    state: str
    text: str
    emulated: bool | None
    attempts: int
    verified_again: int
    handshake: str
    records: tuple[RecordView, ...]


class ReworkView(msgspec.Struct, frozen=True, kw_only=True):
    """How a rework ended, as the ledger tells it."""

    at: str
    act_sha256: str
    change: str
    verdict: str
    fingerprint: str
    old_key_until: str
    code: str


class RegistryView(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says; `detail` of a failure, the rest only of a pin whose signatures hold.

    `fingerprint` is that of the device's key now: of the newest one, where it got another.
    """

    state: Literal["active", "provisional", "revoked", "scrapped", "not-pinned", "no-answer", "not-trusted"]
    fingerprint: str = ""
    station: str = ""
    emulated: bool | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Where to look."""

    root: TrustedRoot
    jobs: JobStore
    cloud: Cloud
    devices: KnowsDevices


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHistory:
    """All that is known about one device."""

    device_id: str
    known: bool
    registry: RegistryView
    jobs: tuple[JobView, ...]
    reworks: tuple[ReworkView, ...]
    signed: tuple[tuple[str, Envelope, PublicKey], ...]

    @property
    def emulated(self) -> bool:
        """Whether a pin statement here or there declares the unit to be no real device."""
        return self.registry.emulated is True or any(job.emulated for job in self.jobs)

    @property
    def view(self) -> dict[str, object]:
        """What a script gets: no key objects."""
        names = ("device_id", "known", "registry", "jobs", "reworks")
        return {name: getattr(self, name) for name in names}

    def save(self, directory: Path) -> Sequence[Path]:
        """Write each signed statement as openssl wants it: NAME.pae (signed bytes), NAME.sig (DER), NAME.pem (key).

        Every file is new: what is there already, a symbolic link included, is a `setup` fault and stays as it is.
        """
        directory.mkdir(parents=True, exist_ok=True)
        written = []
        for name, envelope, key in self.signed:
            if "/" in name:  # an order id from an edited ledger must not lead elsewhere
                raise fault("setup", f"{name!r} is no file name: run station ledger verify --config FILE")
            parts = {
                "json": envelope.to_json(),
                "pae": envelope.pae,
                "sig": envelope.signatures[0].sig,
                "pem": key.to_pem().encode(),
            }
            for suffix, content in parts.items():
                path = directory / f"{name}.{suffix}"
                _write_new(path, content)
                written.append(path)
        return written


def _write_new(path: Path, content: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError as error:
        raise fault("setup", f"{path} is there already and is not overwritten: name a new directory") from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)


async def device_history(reader: Reader, device: DeviceId) -> DeviceHistory:
    """Ask ledger and registry; nobody's word is believed without its signature."""
    signed: list[tuple[str, Envelope, PublicKey]] = []
    jobs = [await _job(reader, each, signed) for each in await reader.jobs.of_device(device)]
    registry = await _registry(reader, device)
    reworks = tuple(map(_rework, await reader.jobs.told_of(device, (ENDED,))))
    known = bool(jobs) or bool(reworks) or registry.state not in {"not-pinned", "no-answer"}
    return DeviceHistory(
        device_id=str(device), known=known, registry=registry, jobs=tuple(jobs), reworks=reworks, signed=tuple(signed)
    )


def _rework(ended: Event) -> ReworkView:
    names = [name for name in ReworkView.__struct_fields__ if name != "at"]
    return ReworkView(at=ended.at, **{name: ended.details.get(name, "") for name in names})


async def _registry(reader: Reader, device: DeviceId) -> RegistryView:
    try:
        found = await now_held(reader.root, reader.cloud, reader.devices, device)
    except (CloudUnreachableError, CloudRefusedError) as error:
        return RegistryView(state="no-answer", detail=str(error))
    except Fault as error:
        return RegistryView(state="not-trusted", detail=str(error))
    if found is None:
        return RegistryView(state="not-pinned")
    return RegistryView(
        state=found.state,
        fingerprint=found.fingerprint,
        station=found.pin.station,
        emulated=found.pin.declared.emulated,
    )


async def _job(reader: Reader, known: OnRecord, signed: list[tuple[str, Envelope, PublicKey]]) -> JobView:
    job, views = known.job, []
    for kind, envelope in known.records.items():
        key = _key(reader.root, kind, envelope)
        views.append(RecordView(kind=kind.value, sha256=envelope.payload_sha256, checked=_checked(envelope, key)))
        if key is not None:
            signed.append((f"{job.order_id}.{kind.value}", envelope, key))
    state, again = await job_state(reader.jobs, known), await reader.jobs.verified_again(job.job_id)
    return JobView(
        job=str(job.job_id),
        order_id=job.order_id,
        adopted=job.adopted,
        state=state.state,
        text=state.text,
        emulated=_emulated(known.records.get(RecordKind.INTENT)),
        attempts=known.attempts - again,
        verified_again=again,
        handshake=shown(reader.root, await reader.jobs.order(job.order_id), known.records),
        records=tuple(views),
    )


def _emulated(intent: Envelope | None) -> bool | None:
    return None if intent is None else read(intent, PinStatement).declared.emulated


def _key(root: TrustedRoot, kind: RecordKind, envelope: Envelope) -> PublicKey | None:
    try:
        if kind is RecordKind.PIN:
            return root.root.pin_key(read(envelope, PinStatement).station)
        if kind is RecordKind.COMPLETION:
            return root.root.completion_key(read(envelope, Completion).station)
        if kind is RecordKind.HANDSHAKE_REPORT:
            return key_of(root, envelope)
    except (StatementError, RootError):
        return None
    return root.root.receipt_key if kind in _RECEIPTS else None


def _checked(envelope: Envelope, key: PublicKey | None) -> str:
    if not envelope.signatures:
        return "unsigned, covered by the checkpoint"
    good = key is not None and envelope.signed_by(key)
    return f"verified with {key.fingerprint[:16]}…" if good and key else "SIGNATURE DOES NOT VERIFY"
