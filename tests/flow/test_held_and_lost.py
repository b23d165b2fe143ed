"""No WAN: units are HELD. The WAN is back, and the registry has another key for one: it is named, and finished nowhere."""

from __future__ import annotations

from pathlib import Path

from station.cli.views import batch_lines
from station.events import BatchFinished, Verdict
from station.held import finish_me, to_quarantine
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import drain, report
from tests.flow.test_lost_put import GENERATED, make_twin, play


def test_a_held_unit_that_clashes_centrally_is_to_be_quarantined_by_name(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        make_twin(bench, same_key=False)
        bench.plant.new_device("fine")
        there = bench.parties().cloud
        bench.change(cloud=ShakyCloud(there, {"pin", "history"}))
        held = [await bench.insert(bench.slot(name=name)) for name in ("dev-1", "fine")]
        assert [each.verdict for each in held] == [Verdict.HELD] * 2, held
        device, fine = (each.device_id for each in held)
        jobs, order = bench.parties().jobs, bench.plant.work.order_id
        assert await finish_me(jobs, order) == (device, fine)
        assert await to_quarantine(jobs, order) == ()
        assert (await bench.insert(bench.slot(name="twin"), "st-02")).verdict is Verdict.PASS
        bench.change(cloud=there)
        told = await drain(bench)
        assert (told.delivered, told.refused, told.waiting) == (1, 1, 0)
        assert await finish_me(jobs, order) == (fine,), "the other one is to be finished"
        assert await to_quarantine(jobs, order) == (device,), "and this one is named"
        books = await report(bench)
        assert (books.lost, books.held, books.to_quarantine) == (1, 1, (device,))
        again = await bench.insert(bench.slot(name="dev-1"))
        assert again.verdict is Verdict.QUARANTINE
        assert await to_quarantine(jobs, order) == (device,), "an id alone proves no unit: it stays named"

    play(tmp_path, story, GENERATED)


def test_a_batch_ends_with_the_names() -> None:
    batch = BatchFinished(
        at="2026-11-22T20:00:00Z", order="o", passed=0, failed=0, held=1, quarantined=0, already=0, outbox=0, seconds=1.0,
        exit_code=7, finish_me=("a" * 24,), to_quarantine=("b" * 24,),
    )  # fmt: skip
    assert batch_lines(batch)[1:] == (
        f"finish me  {'a' * 24}  insert it again when the registry, or its device service, answers",
        f"quarantine {'b' * 24}  out of the held bin: the registry has refused it for good; call the line engineer",
    )
