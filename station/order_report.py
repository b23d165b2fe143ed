"""How far the units of each order got, and what is left of it, as this station's ledger tells. Believes no screen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from station.allotment import allotted
from station.events import Step, Verdict
from station.headroom import Headroom
from station.held import finish_me, held_devices, standing, to_quarantine
from station.intents import may_be_signed
from station.jobs import LedgerError, RecordKind
from station.jobs.store import JobStore
from trust.identity import DeviceId
from trust.order import WorkOrder, window_problem
from trust.statement import Waiver, read


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """One order's units at this station, each counted once; `quantity` and `allowance` are its allotment.

    quantity + allowance = passed + held + quarantined + lost + scrapped + in_work + unused: the units that a pin
    statement was signed for; `emulated` of those are no real devices. `before_signing` ended or wait earlier and use
    nothing of the order, nor do the `turned_away`, which were quarantined before they had a job. `active` of the passed
    are active in the cloud; of `not_taken` the registry refused the completion; `lost` were refused by it for good;
    `finish_me` names the held ones, `to_quarantine` those of the lost that are in the held bin still.
    `scrapped`: as far as this ledger was told; of what is scrapped only the `lost` are counted as something else.
    `reworked`: devices of it whose key, anchor or lock an act has changed here.
    passed = `proved` + `waived` + `not_asked`: what became of the live handshake, as the completions on record say;
    `waived` has each such device with the waiver that stood for it.
    """

    order: str
    quantity: int
    allowance: int
    passed: int
    active: int
    not_taken: int
    held: int
    quarantined: int
    lost: int
    in_work: int
    unused: int
    before_signing: int
    turned_away: int
    emulated: int
    finish_me: tuple[str, ...]
    to_quarantine: tuple[str, ...] = ()
    reworked: int = 0
    scrapped: int = 0
    proved: int = 0
    waived: Mapping[str, Waiver] = msgspec.field(default_factory=dict)
    not_asked: int = 0


async def order_reports(store: JobStore) -> tuple[OrderReport, ...]:
    """All orders of this station, oldest first. Raises LedgerError."""
    return tuple([await _report(store, order) for order in await store.orders()])


async def room_left(store: JobStore, work: WorkOrder) -> Headroom:
    """The room that the batches before have left in an order. Raises LedgerError."""
    order = work.order_id
    asked: dict[Step, list[DeviceId]] = {Step.SIGNED: [], Step.PASSED: []}
    out, in_vain = await store.scrapped(order), 0
    for intent, step in ((RecordKind.INTENT, Step.SIGNED), (RecordKind.COMPLETION_INTENT, Step.PASSED)):
        for job in await store.unanswered(order, intent):
            (begun,) = [each for each in await store.of_device(job.device_id) if each.job.job_id == job.job_id]
            if may_be_signed(step, begun) and job.device_id not in out:
                asked[step].append(job.device_id)
            elif may_be_signed(step, begun) and step is Step.SIGNED:  # its signature is used, if it was made
                in_vain += 1
    tally, held = await store.tally(order), await held_devices(store, order)
    part = await allotted(store, work)
    left = part.quantity + part.allowance - tally.signed_for - in_vain
    passed = await passed_and_not_scrapped(store, order)
    return Headroom(
        part.quantity, passed=passed, held=held, asked=asked, signatures=left, offline=work.offline_allowance,
        closed=window_problem(work, datetime.now(UTC)), numberless=await _numberless(store, order),
    )  # fmt: skip


async def passed_and_not_scrapped(store: JobStore, order_id: str) -> int:
    """Units that fill the order's quantity: scrap of one that has passed frees its place. Raises LedgerError."""
    return (await store.tally(order_id)).less(await store.scrapped_tally(order_id)).passed


async def _numberless(store: JobStore, order_id: str) -> list[DeviceId]:
    """Units whose attempt ended as the registry had no number for their pins, which it has not taken since."""
    told = {event.job for event in await store.verdicts(order_id) if event.details.get("code") == "order-spent"}
    jobs = [job for job in await store.unfinished(order_id) if str(job.job_id) in told] if told else []
    known = [each for job in jobs for each in await store.of_device(job.device_id) if each.job.job_id == job.job_id]
    return [each.job.device_id for each in known if RecordKind.PIN_RECEIPT not in each.records]


async def _report(store: JobStore, order_id: str) -> OrderReport:
    order = await store.order(order_id)
    if order is None:
        raise LedgerError(f"order {order_id} is listed and not in the log: run station ledger verify --config FILE")
    part = await allotted(store, read(order, WorkOrder))
    tally, out = await store.tally(order_id), await store.scrapped_tally(order_id)
    live, held = tally.less(out), await finish_me(store, order_id)
    told, met = await standing(store, order_id), await store.handshakes(order_id)
    unfinished = await store.unfinished(order_id)
    quarantined = sum(told.get(str(job.job_id)) == Verdict.QUARANTINE for job in unfinished)
    return OrderReport(
        order=order_id,
        quantity=part.quantity,
        allowance=part.allowance,
        passed=live.passed,
        active=live.active,
        not_taken=live.not_taken,
        held=len(held),
        quarantined=quarantined,
        lost=tally.refused,
        in_work=len(unfinished) - len(held) - quarantined,
        unused=part.quantity + part.allowance - tally.signed_for,
        before_signing=tally.opened + tally.intended,
        turned_away=await store.turned_away(order_id),
        emulated=await store.emulated(order_id),
        finish_me=held,
        to_quarantine=await to_quarantine(store, order_id),
        reworked=await store.reworked(order_id),
        scrapped=out.signed_for - out.refused,
        proved=met.proved,
        waived=met.waived,
        not_asked=met.not_asked,
    )
