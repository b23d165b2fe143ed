"""An order's end: what was signed for in time is finished after it, and no unit is begun, or touched, any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from station.events import Verdict
from station.faults import Fault
from station.order_report import room_left
from station.plan import for_this_station
from tests.flow.bench import Bench
from tests.flow.unit_causes import held
from trust.order import WorkOrder

OPEN_S = 4.0


def at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


async def room(bench: Bench) -> Any:
    return await room_left(bench.parties().jobs, bench.plant.work)  # type: ignore[arg-type]


def test_a_held_unit_is_finished_after_the_end_and_nothing_else_is_begun(tmp_path: Path) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=OPEN_S)

    async def story() -> None:
        async with Bench.make(tmp_path, not_after=at(ends)) as bench:
            await held(bench, headroom=await room(bench))
            bench.plant.new_device("dev-2")
            await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 0.1)
            late = await bench.insert(bench.slot(name="dev-2"), headroom=await room(bench))
            assert (late.code, late.job, bench.flash("dev-2").key) == ("order-full", "", None), late
            assert "it ended at" in late.detail
            assert (await bench.insert(headroom=await room(bench))).verdict is Verdict.PASS

    asyncio.run(story())


def test_a_batch_begins_under_an_order_that_has_ended_and_not_before_it_begins(tmp_path: Path) -> None:
    here: Any = SimpleNamespace(station=SimpleNamespace(name="st-01"))
    now, day = datetime.now(UTC), timedelta(days=1)

    async def order(begins: datetime, ends: datetime) -> WorkOrder:
        place = tmp_path / str(begins.timestamp())
        async with Bench.make(place, not_before=at(begins), not_after=at(ends)) as bench:
            return bench.plant.work

    for_this_station(asyncio.run(order(now - day, now + day)), here)
    with pytest.raises(Fault, match="it begins at"):
        for_this_station(asyncio.run(order(now + day, now + 2 * day)), here)
