"""Approved acts on one device, done from this station: its key, anchor or lock on the bench, or its id burned.

Everything goes on record and is published. The story of a rework is `station.rework.flow`; what an act may do is
judged by registry, signer and device. Never approves anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import given
from fixtures.device import Anchor, DeviceBusyError, DeviceError, Service
from fixtures.slot import Slot, SlotConfig
from station import wiring
from station.agreement import publish
from station.cloud import CloudRefusedError
from station.cloud.devices import ApproverCode, Devices
from station.cloud.person import REFUSES_PERSON
from station.disposition import VERDICTS
from station.events import ReworkEvent, ReworkFinished, Verdict
from station.faults import Fault, SetupError, fault
from station.leaves import LEAF_ERRORS, classify, classify_for_command
from station.line import Clock
from station.plan import chosen, load_order, load_slots, named_slots
from station.rework.bench import BEGAN, ENDED, ReworkBench
from station.rework.evidence import Reworked
from station.rework.flow import Rework
from station.rework.look import of_order
from station.scrap.carried_out import ScrapBench, Scrapped, put_through
from station.unit import Unit
from station.usage import UsageError
from station.wiring import Desk
from trust import pin_act, rekey
from trust.act import ActRefusedError
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.kinds import PIN_ACT, wrong_kind
from trust.order import WorkOrder
from trust.pin_act import PinAct
from trust.printable import printable
from trust.rekey import Step
from trust.root import TrustedRoot
from trust.statement import moment, read

_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    config_file: Path
    device: DeviceId
    act_file: Path
    slots: tuple[str, ...] = ()
    slots_file: Path | None = None
    order_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """How long to wait for a key that a unit in another slot may be making."""

    generation_timeout_s: float
    longest_pause_s: float = 0.1
    clock: Clock = field(default_factory=Clock)


async def rework(asked: Asked, told: Callable[[ReworkEvent], None]) -> ReworkFinished:
    """Do the act to the unit in its slot. UsageError and set-up's faults before anything is touched."""
    async with wiring.open_desk(asked.config_file) as desk:
        act = read_act(asked.act_file)
        wanted = judged(act, asked, desk.root, "rekey")
        anchor = _anchor(wanted, asked.order_file, desk.root)
        cloud = wiring.open_cloud(desk.config, desk.root, desk.signer)
        try:
            bench = ReworkBench(
                root=desk.root, act=act, wanted=wanted, anchor=anchor, registry=Devices(cloud), memory=desk.store,
                stamp=wiring.stamp_of(desk.config, desk.root), emit=told,
                generation_timeout_s=desk.config.limits.generation_timeout_s,
            )  # fmt: skip
            slot = await _slot_of(bench, _slots(desk, asked))
            done = await attempted(bench, slot)
        finally:
            await cloud.close()
        await publish(desk.root, desk.signer, desk.store)
        return done


async def attempted(bench: ReworkBench, slot: Slot) -> ReworkFinished:
    """One attempt and how it ended, on record first."""
    work, look = Rework(bench, slot), dict[str, str]()
    try:
        await _noted(bench, BEGAN, act=bench.act.to_json().decode(), slot=slot.config.name)
        try:
            done = await work.run()
        finally:
            await work.close()
        finished, look = _passed(bench, slot, done), done.look.details()
    except SetupError:
        raise
    except Fault as found:
        finished = _failed(bench, slot, work, found)
    said = {
        "verdict": finished.verdict.value,
        "change": finished.change,
        "emulated": "yes" if finished.emulated else "no",
    }
    more = {name: getattr(finished, name) or "" for name in ("code", "fingerprint", "old_key_until", "step")}
    await _noted(bench, ENDED, **said, **look, **{name: str(value) for name, value in more.items() if value})
    return finished


async def scrap(asked: Asked, code: Callable[[], ApproverCode]) -> Scrapped:
    """Have the device's id burned, and this station's signer told.

    `code` is asked of the approver where one is enough, once it is known that the act is still to be done. UsageError
    when the registry does not take it.
    """
    async with wiring.open_desk(asked.config_file) as desk:
        act = read_act(asked.act_file)
        judged(act, asked, desk.root, "scrap")
        cloud = wiring.open_cloud(desk.config, desk.root, desk.signer)
        try:
            bench = ScrapBench(
                device=asked.device, act=act, root=desk.root, registry=cloud, signer=desk.signer, ledger=desk.store,
                stamp=wiring.stamp_of(desk.config, desk.root),
            )  # fmt: skip
            done = await put_through(bench, lambda: burned(Devices(cloud), asked.device, act, desk.root, code))
        except LEAF_ERRORS as error:
            if isinstance(error, CloudRefusedError) and error.code in REFUSES_PERSON:
                raise UsageError(f"{error.code.value}: {printable(str(error), _SHOWN)}") from error
            raise classify_for_command(error) from error
        finally:
            await cloud.close()
        await publish(desk.root, desk.signer, desk.store)
        return done


async def burned(
    registry: Devices, device: DeviceId, act: Envelope, root: TrustedRoot, code: Callable[[], ApproverCode]
) -> tuple[str, bool]:
    """The registry has scrapped it by this very act: its order, and whether that was before. "Make it so"."""
    held = await registry.held(device)
    if held is None:
        raise fault("act-refused", f"the registry has no pin of device {device}")
    before = held.done(act, root) is not None
    if not before:
        # A lost answer here: the act is done; the same command again finds it so.
        shown = code() if pin_act.by_one(pin_act.body(act)) else None
        held = await registry.scrap(device, act, shown)
    done = held.done(act, root)
    if done is None or done.state != "scrapped":
        raise fault("registry-wrong", f"device {device} is not scrapped by this act")
    return held.order_id, before


def read_act(file: Path) -> Envelope:
    """An act on a device, from its file; UsageError."""
    try:
        data = given.read(file)
    except OSError as error:
        raise UsageError(f"act {file}: {error.strerror}; name the act's file with --act") from error
    if (wrong := wrong_kind(data, PIN_ACT)) is not None:
        raise UsageError(f"{file} {wrong}")
    try:
        return Envelope.from_json(data.strip())
    except EnvelopeError as error:
        raise UsageError(f"act {file}: {error}") from error


def judged(act: Envelope, asked: Asked, root: TrustedRoot, kind: str, now: datetime | None = None) -> PinAct:
    """The act, if it is of this kind and device, approved, and something of it may still be done; UsageError.

    A courtesy: registry, signer and device judge themselves. Ending an old key outlives the act's own time.
    """
    now = now or datetime.now(UTC)
    try:
        wanted = pin_act.body(act)
        if wanted.kind != kind:
            raise UsageError(f"act {asked.act_file}: it is an act {wanted.kind}: {_brought_by(wanted, asked.act_file)}")
        if wanted.device_id != str(asked.device):
            raise UsageError(f"act {asked.act_file}: it is about device {wanted.device_id}, not {asked.device}")
        pin_act.on_record(act, root, moment(wanted.made_at))  # people enough, whenever
        if not _may_end_old_key(wanted, now):
            pin_act.require_time(wanted, now)
    except ActRefusedError as error:
        raise UsageError(f"act {asked.act_file}: {error}") from error
    return wanted


def _brought_by(wanted: PinAct, file: Path) -> str:
    """Which command does it; none does an act that wants what a device shows of a key."""
    if wanted.kind == "repin":
        return "no command brings it (docs/statements.md, 9: POST …/repin, with what the device shows of its key)"
    what = "rework" if wanted.kind == "rekey" else wanted.kind
    return f"station device {what} {wanted.device_id} --act {file} does it"


def _may_end_old_key(wanted: PinAct, now: datetime) -> bool:
    if wanted.change != "new-key" or not wanted.ends_at:
        return False
    begins, ends = rekey.window(wanted, Step.END_OLD_KEY)
    return begins <= now <= ends


def _anchor(wanted: PinAct, order_file: Path | None, root: TrustedRoot) -> Anchor | None:
    """The anchor that an act names by its hash, as the order has it."""
    if wanted.change != "new-anchor":
        if order_file is not None:
            raise UsageError("--order belongs to an act that wants a new anchor")
        return None
    if order_file is None:
        raise UsageError("the act wants a new anchor: name the order that has its keys and address, --order FILE")
    work = read(load_order(order_file, root), WorkOrder)
    if of_order(work) != wanted.anchor_sha256:
        raise UsageError(f"order {order_file}: its keys and address are not those that the act names")
    return Anchor(
        cloud_key=work.cloud,
        authority_key=work.authority,
        service=Service(work.service),
        host=work.host,
        port=work.port,
    )


def _slots(desk: Desk, asked: Asked) -> tuple[SlotConfig, ...]:
    there = load_slots(desk.paths.slots) if asked.slots_file is None else named_slots(asked.slots_file)
    return chosen(there, asked.slots, "--slot")


async def _slot_of(bench: ReworkBench, configs: Sequence[SlotConfig]) -> Slot:
    """The slot that has the unit: the one that was named, or the one whose unit says so."""
    if len(configs) == 1:
        return wiring.open_slot(configs[0])
    waits = _Patience(generation_timeout_s=bench.generation_timeout_s)
    slots = [wiring.open_slot(each) for each in configs]
    ids = await asyncio.gather(*(_who(waits, each) for each in slots))
    found = [slot for slot, who in zip(slots, ids, strict=True) if who == bench.device_id]
    if not found:
        looked = ", ".join(each.name for each in configs)
        raise fault("unit-not-there", f"device {bench.device_id}; looked at {looked}")
    if len(found) > 1:
        raise fault("device-twice", " and ".join(each.config.name for each in found))
    return found[0]


async def _who(waits: _Patience, slot: Slot) -> DeviceId | None:
    unit = Unit(waits, slot)
    try:
        await unit.open()
        try:
            return (await unit.device.identify()).device_id
        except DeviceBusyError:  # it makes a key: a rework that was cut off
            return (await unit.meet()).device_id
    except (DeviceError, Fault):
        return None
    finally:
        await unit.close()


async def _noted(bench: ReworkBench, kind: str, **details: str) -> None:
    try:
        await bench.note(kind, **details)
    except LEAF_ERRORS as error:
        raise classify(error) from error


def _passed(bench: ReworkBench, slot: Slot, done: Reworked) -> ReworkFinished:
    return ReworkFinished(
        at=bench.clock.utc(), slot=slot.config.name, verdict=Verdict.PASS, device_id=str(bench.device_id),
        act_sha256=bench.act.payload_sha256, change=bench.wanted.change, fingerprint=done.fingerprint,
        old_key_until=done.old_key_until, already=done.already,
        emulated=slot.config.emulated or done.met.identity.emulated,
    )  # fmt: skip


def _failed(bench: ReworkBench, slot: Slot, work: Rework, found: Fault) -> ReworkFinished:
    seen = work.seen
    return ReworkFinished(
        at=bench.clock.utc(), slot=slot.config.name, verdict=VERDICTS[found.row.disposition],
        device_id=str(bench.device_id), act_sha256=bench.act.payload_sha256, change=bench.wanted.change, step=work.at,
        code=found.code, sentence=found.row.sentence, remedy=found.row.remedy, detail=found.detail,
        emulated=slot.config.emulated or (seen is not None and seen.emulated), exit_code=found.row.exit,
    )  # fmt: skip
