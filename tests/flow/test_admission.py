"""Whether a unit may begin here is judged before a job is opened, and a good unit is never given up for being seen often."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fixtures.families.smp.emulated import verbs
from station.events import Verdict
from tests.flow.bench import Bench, ShakyCloud
from trust.order import Firmware, SecurityState


def test_a_unit_that_passed_may_be_inserted_more_often_than_attempts_are_allowed(tmp_path: Path) -> None:
    async def story() -> None:
        async with Bench.make(tmp_path) as bench:
            results = [await bench.insert(max_attempts=2) for _ in range(5)]
            assert [each.verdict for each in results] == [Verdict.PASS] * 5
            assert [each.already for each in results] == [False, True, True, True, True]

    asyncio.run(story())


def test_a_held_unit_is_not_given_up_in_a_long_outage(tmp_path: Path) -> None:
    async def story() -> None:
        async with Bench.make(tmp_path) as bench:
            steady = bench.parties().cloud
            bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
            for _ in range(4):
                assert (await bench.insert(max_attempts=2)).verdict is Verdict.HELD
            bench.change(cloud=steady)
            assert (await bench.insert(max_attempts=2)).verdict is Verdict.PASS

    asyncio.run(story())


def test_an_outage_at_the_second_station_leaves_a_finished_unit_as_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with Bench.make(tmp_path, stations=("st-01", "st-02")) as bench:
            assert (await bench.insert()).verdict is Verdict.PASS
            first = bench.parties()
            (sent,) = await first.jobs.pending()
            await first.cloud.complete(sent.job.device_id, sent.envelope)
            steady = bench.parties("st-02").cloud
            bench.change("st-02", cloud=ShakyCloud(steady, {"pin", "history"}))
            assert (await bench.insert(station="st-02")).code == "registry-needed"
            bench.change("st-02", cloud=steady)
            again = await bench.insert(station="st-02")
            assert (again.verdict, again.already) == (Verdict.PASS, True), again

    asyncio.run(story())


def test_a_unit_without_a_key_to_collect_may_come_back_with_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with Bench.make(tmp_path, origins=("collected",), unproven_origin=True) as bench:
            assert (await bench.insert()).code == "origin-not-allowed"
            bench.give_key()
            assert (await bench.insert()).verdict is Verdict.PASS

    asyncio.run(story())


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"devices": ("ab" * 12,)}, "unit-not-ordered"),
        ({"before_lock": SecurityState(debug_closed=True)}, "unit-not-ordered"),
        ({"firmware": (Firmware(sha256=verbs.IMAGE.hex(), version="9.9.9"),)}, "firmware-not-allowed"),
        ({"firmware": (Firmware(sha256=verbs.IMAGE.hex(), platform="another board"),)}, "firmware-not-allowed"),
    ],
)
def test_a_unit_that_the_order_does_not_let_be_made_stays_as_it_is(
    tmp_path: Path, terms: dict[str, Any], code: str
) -> None:
    """Turned away before the first command that changes it: no key, no job."""

    async def story() -> None:
        async with Bench.make(tmp_path, **terms) as bench:
            before = bench.plant.directory.joinpath("dev-1.flash").read_bytes()
            result = await bench.insert()
            assert (result.verdict, result.code) == (Verdict.FAIL, code)
            assert bench.plant.directory.joinpath("dev-1.flash").read_bytes() == before

    asyncio.run(story())
