"""Two stations share an order: each has its own part, and neither begins a unit of the other's."""

from pathlib import Path

from station.events import Step, Verdict
from station.exits import Exit
from station.order_report import room_left
from tests.flow.bench import Bench
from tests.flow.books import drain, play, report, store
from trust.order import Allotment

PARTS = {"st-01": Allotment(quantity=2, allowance=1), "st-02": Allotment(quantity=1)}


def test_a_stations_part_that_is_used_up_leaves_the_others_alone(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert bench.plant.work.stations == PARTS
        for name in ("dev-2", "dev-3"):
            bench.plant.new_device(name)
        passed = await bench.insert(station="st-02", headroom=await room_left(store(bench, "st-02"), bench.plant.work))
        assert passed.verdict is Verdict.PASS
        room = await room_left(store(bench, "st-02"), bench.plant.work)
        full = await bench.insert(bench.slot(name="dev-2"), station="st-02", headroom=room)
        assert (full.code, full.step, full.exit_code) == ("order-full", Step.ASSIGNED, Exit.ORDER_EXHAUSTED), full
        assert bench.flash("dev-2").key is None, "untouched"
        for name in ("dev-2", "dev-3"):
            room = await room_left(store(bench), bench.plant.work)
            assert (await bench.insert(bench.slot(name=name), headroom=room)).verdict is Verdict.PASS
        for station in PARTS:
            await drain(bench, station)
        first, second = await report(bench), await report(bench, "st-02")
        assert (first.quantity, first.allowance, first.passed, first.unused) == (2, 1, 2, 1), first
        assert (second.quantity, second.allowance, second.passed, second.unused) == (1, 0, 1, 0), second

    play(tmp_path, story, ("st-01", "st-02"), quantity=3, allowance=1)
