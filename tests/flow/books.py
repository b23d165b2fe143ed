"""What a station's books say after a story: the order's equation, the audit, the outbox; and whether work was forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from station.audit import audit
from station.events import UnitFinished
from station.faults import Fault
from station.jobs import RecordKind
from station.jobs.store import JobStore
from station.order_report import OrderReport, order_reports
from station.outbox import Drained, Outbox
from tests.flow.bench import Bench
from tests.flow.plant import attempt
from trust.identity import DeviceId

Story = Callable[[Bench], Coroutine[Any, Any, None]]


class Died(BaseException):
    """The station ends here: nothing of it may run any more."""


def store(bench: Bench, station: str = "st-01") -> JobStore:
    held = bench.parties(station).jobs
    assert isinstance(held, JobStore)
    return held


async def keep_orders(bench: Bench) -> None:
    """As the station does before its first unit."""
    for station in bench.plant.root.root.stations:
        await store(bench, station).keep_order(bench.plant.order)


def _not_expected(found: Fault) -> None:
    raise AssertionError(f"the line was stopped: {found}")


async def drain(bench: Bench, station: str = "st-01", *, stop_line: Callable[[Fault], None] = _not_expected) -> Drained:
    """One pass of the station's outbox."""
    line = bench.plant.line(bench.parties(station), station)
    box = Outbox(
        store(bench, station),
        line.cloud,
        root=line.root,
        stamp=bench.plant.stamp(station),
        stop_line=stop_line,
    )
    return await box.drain_once()


async def report(bench: Bench, station: str = "st-01") -> OrderReport:
    """The order's report, its equation and the ledger's audit checked, and nothing in the outbox."""
    (told,) = [each for each in await order_reports(store(bench, station)) if each.order == bench.plant.work.order_id]
    used = told.passed + told.held + told.quarantined + told.lost + told.scrapped + told.in_work
    assert told.quantity + told.allowance == used + told.unused, told
    assert told.held == len(told.finish_me), told
    assert told.passed == told.proved + len(told.waived) + told.not_asked, told
    assert audited(bench, station) == []
    return told


def audited(bench: Bench, station: str = "st-01") -> list[str]:
    """What the audit finds; no batch ends here, so nothing has been signed over the log."""
    engine = bench.plant.ledger(station)
    try:
        return [str(each) for each in audit(engine, bench.plant.root, station, signed=0).findings]
    finally:
        engine.dispose()


async def on_record(bench: Bench, station: str = "st-01") -> set[RecordKind]:
    """The records of the device's only job there."""
    (found,) = await store(bench, station).of_device(DeviceId(bench.flash().device_id))
    return set(found.records)


@contextlib.asynccontextmanager
async def nothing_forgotten() -> AsyncIterator[list[dict[str, Any]]]:
    """Fails if a task was left running, or its error unseen, by what runs inside; yields what the loop was told."""
    loop, told = asyncio.get_running_loop(), list[dict[str, Any]]()
    before, debug = asyncio.all_tasks(), loop.get_debug()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        yield told
        left = asyncio.all_tasks() - before
        gc.collect()
        await asyncio.sleep(0)
        assert not left, f"still running: {left}"
        assert not told, f"nobody saw: {told}"
    finally:
        loop.set_exception_handler(None)
        loop.set_debug(debug)


def play(path: Path, story: Story, stations: tuple[str, ...] = ("st-01",), **order: Any) -> None:
    async def whole() -> None:
        async with Bench.make(path, stations, **order) as bench:
            await keep_orders(bench)
            await story(bench)

    asyncio.run(whole())


async def under(bench: Bench, name: str = "dev-1", **order: Any) -> UnitFinished:
    """One insertion under the next order."""
    following = bench.another_order(**order)
    await store(bench).keep_order(following.order)
    return await attempt(following, bench.parties(), bench.slot(name=name))
