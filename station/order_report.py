"""How far the units of each order got, as the ledger tells it. Reads only; believes no screen."""

from __future__ import annotations

import msgspec

from station.events import Verdict
from station.held import finish_me
from station.jobs import RecordKind
from station.jobs.store import JobStore
from trust.identity import JobId


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """One order's units, each counted once: units = passed + held + quarantined + lost + in_work.

    `active` of the passed are active in the cloud; `lost` were refused by the registry for good; `finish_me` names the
    held ones.
    """

    order: str
    units: int
    passed: int
    active: int
    held: int
    quarantined: int
    lost: int
    in_work: int
    finish_me: tuple[str, ...]


async def order_reports(store: JobStore) -> tuple[OrderReport, ...]:
    """All orders of this station, oldest first. Raises LedgerError."""
    return tuple([await _report(store, order) for order in await store.orders()])


async def _report(store: JobStore, order: str) -> OrderReport:
    tally, held = await store.tally(order), await finish_me(store, order)
    quarantined = 0
    for event in await store.latest_verdicts(order):
        if event.details.get("verdict") == Verdict.QUARANTINE:
            quarantined += RecordKind.PIN_REFUSED not in await store.records(JobId.parse(event.job))
    ended = tally.passed + len(held) + quarantined + tally.refused
    return OrderReport(
        order=order,
        units=tally.jobs,
        passed=tally.passed,
        active=tally.active,
        held=len(held),
        quarantined=quarantined,
        lost=tally.refused,
        in_work=tally.jobs - ended,
        finish_me=held,
    )
