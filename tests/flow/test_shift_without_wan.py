"""A shift without WAN: units are HELD as far as the order lets them wait, then the line stops; back, each is finished.

Negative control: a station that asks for no room holds more than the order lets wait.
"""

from __future__ import annotations

from pathlib import Path

from station.events import Verdict
from station.held import finish_me
from station.order_report import room_left
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import drain, report
from tests.flow.test_lost_put import play

WAIT = 3
NAMES = [f"dev-{number}" for number in range(1, WAIT + 2)]
ORDER = {"offline_allowance": WAIT}


async def shift(bench: Bench, *, asked: bool) -> list[tuple[str, str]]:
    """What each unit is told while the registry is away; the batch asks for room before each, or does not."""
    for name in NAMES[1:]:
        bench.plant.new_device(name)
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"pin", "complete", "history", "lease"}))
    told = []
    for name in NAMES:
        room = {"headroom": await room_left(bench.parties().jobs, bench.plant.work)} if asked else {}  # type: ignore[arg-type]
        result = await bench.insert(bench.slot(name=name), **room)
        told.append((result.verdict.value, result.code))
    return told


def test_held_within_the_allowance_then_line_stop_then_every_unit_is_finished(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        there = bench.parties().cloud
        told = await shift(bench, asked=True)
        assert told == [("HELD", "registry-unreachable")] * WAIT + [("FAIL", "held-too-many")]
        jobs, order = bench.parties().jobs, bench.plant.work.order_id
        held = await finish_me(jobs, order)
        assert len(held) == WAIT and held == (await report(bench)).finish_me
        bench.change(cloud=there)
        sent = await drain(bench)
        assert (sent.delivered, sent.waiting) == (WAIT, 0)
        assert await finish_me(jobs, order) == held, "pinned by now, and each is still to be finished"
        for left, name in reversed(list(enumerate(NAMES[:WAIT]))):
            assert (await bench.insert(bench.slot(name=name))).verdict is Verdict.PASS, left
        assert await finish_me(jobs, order) == ()
        assert (await bench.insert(bench.slot(name=NAMES[-1]))).verdict is Verdict.PASS
        assert ((await drain(bench)).waiting, (await report(bench)).active) == (0, WAIT + 1)

    play(tmp_path, story, ORDER)


def test_control_without_asking_for_room_more_are_held_than_may_wait(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert await shift(bench, asked=False) == [("HELD", "registry-unreachable")] * len(NAMES)

    play(tmp_path, story, ORDER)
