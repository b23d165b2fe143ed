"""Units quarantined before they had a job: on record, under audit, and counted once in the order's report."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.families.smp.emulated.faults import Faults
from station.events import Verdict
from tests.faults import disk
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import audited, keep_orders, report, store
from tests.flow.plant import attempt
from trust.order import Firmware


def play(directory: Path, story: Callable[[Bench], Awaitable[None]], **order: Any) -> None:
    async def whole() -> None:
        async with Bench.make(directory, **order) as bench:
            await keep_orders(bench)
            await story(bench)

    asyncio.run(whole())


def told_of(bench: Bench) -> list[tuple[str, str, dict[str, str]]]:
    """Device, job and details of each verdict on record."""
    found = disk.events(bench.plant.directory / "st-01.db", "verdict")
    return [(each["device_id"], each["job"], each["details"]) for each in found]


def test_a_unit_with_sick_random_numbers_is_turned_away_and_counted_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        device = bench.flash().device_id.hex()
        for times in range(1, 4):
            result = await bench.insert(bench.slot(Faults(rng_stuck=True)))
            assert (result.verdict, result.code, result.job) == (Verdict.QUARANTINE, "rng-failed", ""), result
            said = {"verdict": "QUARANTINE", "code": "rng-failed", "step": "identified"}
            assert told_of(bench) == [(device, "", said)] * times
            told = await report(bench)
            assert (told.turned_away, told.quarantined, told.before_signing) == (1, 0, 0), told
        assert disk.query(tmp_path / "st-01.db", "SELECT count(*) FROM jobs") == [(0,)]
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(Faults(rng_stuck=True), "dev-2"))).code == "rng-failed"
        assert (await report(bench)).turned_away == 2

    play(tmp_path, story)


@pytest.mark.parametrize("known_by", ["the registry", "the ledger"])
def test_a_unit_of_another_order_is_turned_away_under_this_one(tmp_path: Path, known_by: str) -> None:
    """Passed under the first order, or begun under it and not at the registry yet: it counts there, and is turned away here."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        if known_by == "the ledger":
            bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        first = await bench.insert()
        assert first.verdict is (Verdict.PASS if known_by == "the registry" else Verdict.HELD), first
        bench.change(cloud=steady)
        before, other = await report(bench), bench.another_order()
        await store(bench).keep_order(other.order)
        for _ in range(2):
            result = await attempt(other, bench.parties(), bench.slot())
            assert (result.verdict, result.code, result.job) == (Verdict.QUARANTINE, "other-order", ""), result
        told = await report(Bench(other, bench.parties_of))
        assert (told.order, told.turned_away, told.unused) == ("order-2", 1, told.quantity + told.allowance), told
        assert await report(bench) == before, "nothing changes under the first order"
        assert len([each for each in told_of(bench) if each[1] == ""]) == 2
        again = await bench.insert()
        assert (again.verdict, again.job) == (Verdict.PASS, first.job), again

    play(tmp_path, story)


@pytest.mark.parametrize("faults", [{"product_id": 8}, {"firmware": (Firmware(sha256="ab" * 32),)}])
def test_a_unit_in_the_wrong_bin_costs_no_leaf(tmp_path: Path, faults: dict[str, Any]) -> None:
    """Negative control: no quarantine, so nothing on record; the report counts verdicts and not insertions."""

    async def story(bench: Bench) -> None:
        before = disk.entries(tmp_path / "st-01.db")
        assert (await bench.insert()).verdict is Verdict.FAIL
        assert disk.entries(tmp_path / "st-01.db") == before
        assert (await report(bench)).turned_away == 0
        assert audited(bench) == []

    play(tmp_path, story, **faults)
