"""A unit that this station began and another one finished: what the first one's books and screen say when it is back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from station.cloud import CloudUnreachableError
from station.events import UnitFinished, Verdict
from station.jobs import RecordKind
from station.outbox import Drained
from tests.faults import disk
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import Died, drain, keep_orders, on_record, report

TWO = ("st-01", "st-02")


def play(directory: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with Bench.make(directory, TWO, quantity=8, allowance=2) as bench:
            await keep_orders(bench)
            await story(bench)

    asyncio.run(whole())


class DiesAt:
    """A signer at whose verb the station dies."""

    def __init__(self, signer: Any, verb: str) -> None:
        self.signer, self.verb = signer, verb

    def __getattr__(self, name: str) -> Any:
        if name == self.verb:
            raise Died
        return getattr(self.signer, name)


async def died_between_intent_and_completion(bench: Bench) -> None:
    steady = bench.parties().signer
    bench.change(signer=DiesAt(steady, "sign_completion"))
    with pytest.raises(Died):
        await bench.insert()
    bench.change(signer=steady)
    found = await on_record(bench)
    assert RecordKind.COMPLETION_INTENT in found
    assert RecordKind.COMPLETION not in found


def assert_already_passed(back: UnitFinished) -> None:
    assert (back.verdict, back.already, back.cloud) == (Verdict.PASS, True, "active"), back


def test_died_before_its_completion_was_signed_and_the_other_station_finished_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await died_between_intent_and_completion(bench)
        told = await report(bench)
        assert (told.passed, told.held, told.unused) == (0, 1, 4), told
        there = await bench.insert(station="st-02")
        assert (there.verdict, there.already) == (Verdict.PASS, False), there
        await drain(bench, "st-02")
        assert_already_passed(await bench.insert())
        await drain(bench)
        told = await report(bench)
        assert (told.passed, told.active, told.held, told.in_work, told.unused) == (1, 1, 0, 0, 4), told
        assert told.finish_me == ()
        assert disk.pending(tmp_path / "st-01.db") == []
        mine, its = await on_record(bench), disk.query(tmp_path / "registry.db", "SELECT statement FROM completions")
        assert RecordKind.COMPLETION_INTENT in mine, "the intent stays on record beside the other station's completion"
        assert [disk.Sealed.of(each[0]).body["station"] for each in its] == ["st-02"]
        assert (await report(bench, "st-02")).passed == 1

    play(tmp_path, story)


def test_both_stations_completed_it_and_the_first_one_to_the_registry_stands(tmp_path: Path) -> None:
    """The other station's completion waits in its outbox while the unit is back here: here it is finished once more."""

    async def story(bench: Bench) -> None:
        await died_between_intent_and_completion(bench)
        assert (await bench.insert(station="st-02")).verdict is Verdict.PASS
        back = await bench.insert()
        assert (back.verdict, back.already) == (Verdict.PASS, False), back
        await drain(bench)
        refused = await drain(bench, "st-02")
        assert (refused.refused, refused.waiting) == (1, 0)
        assert RecordKind.COMPLETION_REFUSED in await on_record(bench, "st-02")
        here, there = await report(bench), await report(bench, "st-02")
        assert (here.passed, here.active, here.not_taken) == (1, 1, 0), here
        assert (there.passed, there.active, there.not_taken) == (1, 0, 1), there
        assert_already_passed(await bench.insert(station="st-02"))

    play(tmp_path, story)


def test_its_own_completion_never_arrived_and_the_other_stations_stands(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"complete"}))
        assert (await bench.insert()).verdict is Verdict.PASS
        assert (await drain(bench)).waiting == 1
        there = await bench.insert(station="st-02")
        assert (there.verdict, there.already) == (Verdict.PASS, False), there
        await drain(bench, "st-02")
        bench.change(cloud=steady)
        assert await drain(bench) == Drained(delivered=0, refused=1, waiting=0)
        assert disk.pending(tmp_path / "st-01.db") == []
        (event,) = [
            each.body for kind, each in disk.records(tmp_path / "st-01.db", there.job).items() if "refused" in kind
        ]
        assert (event["kind"], event["details"]) == ("completion-refused", {"code": "job-bytes-differ"})
        for _ in range(2):
            told = await report(bench)
            assert (told.passed, told.active, told.not_taken, told.finish_me) == (1, 0, 1, ()), told
            assert_already_passed(await bench.insert())

    play(tmp_path, story)


def test_a_refusal_of_the_completion_is_no_answer_when_nobody_answers(tmp_path: Path) -> None:
    """Negative control of the books: while the registry is away the completion waits, and is not booked as refused."""

    class Away(ShakyCloud):
        async def complete(self, *_: Any) -> Any:
            raise CloudUnreachableError("no answer")

    async def story(bench: Bench) -> None:
        bench.change(cloud=Away(bench.parties().cloud))
        assert (await bench.insert()).verdict is Verdict.PASS
        await drain(bench)
        told = await report(bench)
        assert (told.passed, told.active, told.not_taken) == (1, 0, 0), told
        assert [kind for _, kind in disk.pending(tmp_path / "st-01.db")] == ["completion"]

    play(tmp_path, story)
