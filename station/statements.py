"""Composes the two statements a unit costs, from evidence. Pure: same evidence and clock, same bytes."""

from __future__ import annotations

import msgspec

from fixtures.device import Anchor, Identity, Service
from fixtures.power import CycleKind
from fixtures.slot import SlotConfig
from station.declared import declared
from station.events import UnitSeen
from station.evidence import Locked, Vetted
from station.handshaking import Met
from station.jobs import Job
from station.jobs.leaf import VERDICT, VERIFIED_AGAIN
from station.line import Line
from station.rework.look import Look
from trust.identity import DeviceId
from trust.statement import Completion, Event, PinStatement, Possession, Verification


def pin_statement(line: Line, vetted: Vetted, *, bench_emulated: bool) -> PinStatement:
    """What the signer is asked to sign in state 7."""
    proven, keyed = vetted.proven, vetted.proven.keyed
    assigned, key = keyed.assigned, keyed.key
    return PinStatement(
        environment=line.work.environment,
        root_sha256=line.root.sha256,
        order_id=line.work.order_id,
        order_sha256=line.order_sha256,
        order_signed=bool(line.order.signatures),
        station=line.station,
        job=str(assigned.job.job_id),
        device_id=str(assigned.identity.device_id),
        product=line.work.product,
        product_id=assigned.identity.product_id,
        key_type=key.key_type.value,
        spki=key.spki,
        fingerprint=key.fingerprint,
        origin=keyed.origin,
        origin_proven=keyed.origin_proven,
        possession=proven.possession,
        vetting=vetted.vetting,
        declared=declared(assigned.identity, bench_emulated=bench_emulated),
        made_at=line.clock.utc(),
    )


def verification(cycle: CycleKind, possession: Possession, met: Met) -> Verification:
    """What state 10 really did."""
    return Verification(
        cycle=cycle.value,
        possession=possession,
        handshake=met.handshake,
        handshake_report=met.report,
        handshake_waiver=met.waiver,
    )


def completion(line: Line, locked: Locked, *, bench_emulated: bool) -> Completion:
    """What the signer is asked to sign in state 12."""
    anchored = locked.verified.anchored
    pinned, anchor = anchored.pinned, anchored.anchor
    return Completion(
        environment=line.work.environment,
        root_sha256=line.root.sha256,
        order_id=line.work.order_id,
        order_sha256=line.order_sha256,
        station=line.station,
        job=str(pinned.assigned.job.job_id),
        device_id=str(pinned.assigned.identity.device_id),
        fingerprint=pinned.key.fingerprint,
        pin_sha256=pinned.pin.payload_sha256,
        receipt_sha256=pinned.receipt.payload_sha256,
        cloud_fingerprint=anchor.cloud_key.fingerprint,
        authority_fingerprint=anchor.authority_key.fingerprint,
        service=anchor.service.value,
        host=anchor.host,
        port=anchor.port,
        verification=locked.verified.verification,
        write_refused_after_lock=True,
        closing=locked.closing,
        emulated=pinned.assigned.identity.emulated or bench_emulated,
        made_at=line.clock.utc(),
    )


def anchor_of(line: Line) -> Anchor:
    """The anchor that the order wants in every device."""
    return Anchor(
        cloud_key=line.work.cloud, authority_key=line.work.authority, service=Service(line.work.service),
        host=line.work.host, port=line.work.port,
    )  # fmt: skip


def event(line: Line, kind: str, job: Job, attempt: int, **details: str) -> Event:
    """Something that happened to a job, for the ledger."""
    told = _event(line, kind, job.device_id, details)
    return msgspec.structs.replace(told, order_id=line.work.order_id, job=str(job.job_id), attempt=attempt)


def turned_away(line: Line, identity: Identity, **details: str) -> Event:
    """The verdict on a unit that got no job, for the ledger."""
    told = _event(line, VERDICT, identity.device_id, details)
    return msgspec.structs.replace(told, order_id=line.work.order_id)


def verified_again(line: Line, device: DeviceId, look: Look) -> Event:
    """A unit that had passed is whole once more: key, anchor and lock; of no job, like all of its rework."""
    return _event(line, VERIFIED_AGAIN, device, look.details())


def _event(line: Line, kind: str, device: DeviceId, details: dict[str, str]) -> Event:
    """Of a device; neither order nor job."""
    return Event(
        environment=line.work.environment, root_sha256=line.root.sha256, station=line.station, kind=kind,
        at=line.clock.utc(), order_id="", job="", device_id=str(device), details=details,
    )  # fmt: skip


def unit_seen(line: Line, slot: SlotConfig, identity: Identity) -> UnitSeen:
    """Who is in the slot, for the screen."""
    return UnitSeen(
        at=line.clock.utc(),
        slot=slot.name,
        device_id=str(identity.device_id),
        product_id=identity.product_id,
        hardware=identity.hardware,
        emulated=identity.emulated or slot.emulated,
    )
