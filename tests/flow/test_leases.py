"""Leases in the flow: renewed in need by one slot for all, missing when the registry is away, refused to a copy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fixtures.slot import Slot
from station.attempt import Attempt
from station.events import UnitFinished, Verdict
from station.faults import Fault
from station.line import Line
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.lease_causes import counters, lease, new, passes, restore
from trust.lease import Lease, granted
from trust.statement import read


class Counting:
    """A registry that counts who asks for a lease; the others wait for their turn at the signer."""

    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud
        self.asked = 0

    async def lease(self, request: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0.05)
        return await self.cloud.lease(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)


async def inserted(line: Line, slot: Slot) -> UnitFinished:
    """One insertion on a line that other slots share."""
    work = Attempt(line, slot)
    try:
        return await work.passed()
    except Fault as found:
        return await work.failed(found)
    finally:
        await work.close()


async def batch(bench: Bench, *names: str) -> list[str]:
    """These units side by side on one line; their codes."""
    line = bench.plant.line(bench.parties())
    found = await asyncio.gather(*(inserted(line, bench.slot(name=name)) for name in names))
    return [each.code for each in found]


def played(directory: Path, story: Any, leases: int) -> None:
    async def play() -> None:
        async with Bench.make(directory, leases=leases) as bench:
            for name in ("dev-2", "dev-3", "dev-4", "dev-5", "dev-6"):
                bench.plant.new_device(name)
            await story(bench)

    asyncio.run(play())


async def serial(bench: Bench) -> int:
    found = (await bench.parties().signer.status()).lease
    return 0 if found is None else found.serial


def test_a_lease_that_is_used_up_is_renewed_by_one_slot_for_all(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        registry = Counting(bench.parties().cloud)
        bench.change(cloud=registry)
        assert await batch(bench, "dev-1", "dev-2", "dev-3") == ["", "", ""]
        assert (registry.asked, await serial(bench)) == (1, 1)
        assert await batch(bench, "dev-4", "dev-5", "dev-6") == ["", "", ""]
        assert (registry.asked, await serial(bench)) == (2, 2)

    played(tmp_path, story, leases=3)


def test_a_lease_that_ends_among_the_slots_is_renewed_too(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        registry = Counting(bench.parties().cloud)
        bench.change(cloud=registry)
        assert await batch(bench, "dev-1", "dev-2", "dev-3", "dev-4", "dev-5") == [""] * 5
        assert (registry.asked, await serial(bench)) == (3, 3)

    played(tmp_path, story, leases=2)


def test_every_lease_is_on_record(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert await batch(bench, "dev-1", "dev-2", "dev-3") == [""] * 3
        papers = await bench.parties().jobs.papers("")  # type: ignore[attr-defined]
        assert [granted(bench.plant.root, each).serial for each in papers] == [1, 2, 3]
        assert [read(each, Lease).signed for each in papers] == [0, 1, 2]

    played(tmp_path, story, leases=1)


def test_the_registry_away_stops_the_line_and_the_next_batch_finishes_the_units(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        assert await batch(bench, "dev-1") == [""]
        bench.change(cloud=ShakyCloud(steady, {"lease", "history", "pin"}))
        codes = await batch(bench, "dev-2", "dev-3")
        assert set(codes) <= {"lease-needed", "line-stopped"} and "lease-needed" in codes
        keys = [bench.flash(name).key for name in ("dev-2", "dev-3")]
        bench.change(cloud=steady)
        assert await batch(bench, "dev-2", "dev-3") == ["", ""]
        again = [bench.flash(name).key for name in ("dev-2", "dev-3")]
        assert all(after == before for before, after in zip(keys, again, strict=True) if before is not None)

    played(tmp_path, story, leases=1)


def test_an_answer_that_is_lost_costs_no_lease(tmp_path: Path) -> None:
    """Granted, and the answer never came: the same request gets the same lease."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"lease"}, after=True))
        assert await batch(bench, "dev-1") == ["lease-needed"]
        bench.change(cloud=steady)
        assert await batch(bench, "dev-1") == [""]
        assert await serial(bench) == 1

    played(tmp_path, story, leases=5)


def test_a_restored_signer_is_refused_and_no_unit_is_finished(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await passes(bench, "dev-1")
        saved = counters(bench)
        assert (await bench.insert(bench.slot(name="dev-2"))).code == ""
        restore(bench, saved)
        for name in ("dev-3", "dev-4"):
            result = await bench.insert(bench.slot(name=name))
            assert (result.code, result.verdict) == ("lease-refused", Verdict.FAIL)
            assert "asks for lease 2, and 2 were granted" in result.detail

    played(tmp_path, story, leases=1)


def test_what_a_restored_signer_signs_within_its_lease_is_no_pin(tmp_path: Path) -> None:
    """It signs the rest of the lease that it remembers; the registry takes no more pins than its leases allow."""

    async def story(bench: Bench) -> None:
        await lease(bench.parties(), bench)
        saved = counters(bench)
        await passes(bench, "dev-1")
        restore(bench, saved)
        result = await bench.insert(new(bench, "dev-7"))
        assert (result.code, result.step) == ("lease-refused", "pinned")
        device = bench.flash("dev-7").device_id
        from trust.identity import DeviceId

        assert await bench.parties().cloud.history(DeviceId(device)) is None

    played(tmp_path, story, leases=1)


@pytest.mark.parametrize("verb", ["lease_request", "import_lease"])
def test_a_signer_that_is_down_in_a_renewal_is_as_down_as_ever(tmp_path: Path, verb: str) -> None:
    from tests.flow.bench import Down

    async def story(bench: Bench) -> None:
        steady = bench.parties().signer
        bench.change(signer=Down(steady, verb))
        assert await batch(bench, "dev-1") == ["signer-down"]
        bench.change(signer=steady)
        assert await batch(bench, "dev-1") == [""]
        assert await serial(bench) == 1

    played(tmp_path, story, leases=5)
