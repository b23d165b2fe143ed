"""The PUT's answer was lost, or was a no, and the registry holds another statement: each case has its own name."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from station import checks
from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord
from station.events import UnitFinished, Verdict
from station.jobs import RecordKind
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import drain, keep_orders, on_record, report
from tests.flow.test_hostile_registry import finished
from trust.dsse import Envelope
from trust.statement import PinStatement, read

COLLECTED = {"origins": ("collected",), "unproven_origin": True}
GENERATED: dict[str, Any] = {}


def play(directory: Path, story: Callable[[Bench], Awaitable[None]], order: dict[str, Any]) -> None:
    async def whole() -> None:
        async with Bench.make(directory, ("st-01", "st-02"), **order) as bench:
            await keep_orders(bench)
            await story(bench)

    asyncio.run(whole())


class PinnedInBetween:
    """Just before this station's statement arrives another station pins; and this one's answer is lost."""

    def __init__(self, bench: Bench, *, arrives: bool) -> None:
        self.bench, self.arrives = bench, arrives
        self.cloud = bench.parties().cloud
        self.there: UnitFinished | None = None

    async def pin(self, *args: Any) -> PinRecord:
        self.there = await self.bench.insert(self.bench.slot(name="twin"), "st-02")
        assert self.there.verdict is Verdict.PASS, self.there
        if self.arrives:
            with pytest.raises(CloudRefusedError):
                await self.cloud.pin(*args)
        raise CloudUnreachableError("the answer was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)


def make_twin(bench: Bench, *, same_key: bool) -> None:
    """Another board with this one's id, and perhaps its very key and job."""
    if same_key:
        bench.give_key()
        shutil.copy(bench.plant.directory / "dev-1.flash", bench.plant.directory / "twin.flash")
    else:
        bench.plant.new_device("twin")
        bench.flash("twin", device_id=bench.flash().device_id)


CASES = [(True, "job-conflict"), (False, "other-key-pinned")]


async def answer_lost(bench: Bench, same_key: bool, arrives: bool) -> UnitFinished:
    make_twin(bench, same_key=same_key)
    bench.change(cloud=PinnedInBetween(bench, arrives=arrives))
    return await bench.insert()


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize(("same_key", "code"), CASES)
def test_the_answer_was_lost_and_another_statement_is_pinned(
    tmp_path: Path, same_key: bool, code: str, arrives: bool
) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        result = await answer_lost(bench, same_key, arrives)
        assert (result.verdict, result.code) == (Verdict.QUARANTINE, code), result
        assert "st-02" in result.detail
        found = await on_record(bench)
        assert RecordKind.PIN_RECEIPT not in found, "what another station pinned is no receipt of ours"
        # The statement still waits, as nobody said no to it: the outbox hears the no, and books the loss.
        bench.change(cloud=steady)
        assert (await drain(bench)).refused == 1
        told = await report(bench)
        assert (told.lost, told.held, told.quarantined, told.in_work, told.passed) == (1, 0, 0, 0, 0), told
        again = await bench.insert()
        assert (again.verdict, again.code in {"job-conflict", "key-changed"}) == (Verdict.QUARANTINE, True), again

    play(tmp_path, story, COLLECTED if same_key else GENERATED)


@pytest.mark.parametrize(("same_key", "code"), CASES)
def test_a_read_back_that_ignored_the_difference_would_be_seen(tmp_path: Path, same_key: bool, code: str) -> None:
    """Negative control."""

    def ignorant(_root: Any, _sent: Envelope, held: PinRecord | None, *, answer: Envelope | None) -> Envelope:
        assert held is not None
        return held.receipt

    async def story(bench: Bench) -> None:
        with mock.patch.object(checks, "read_back", ignorant):
            assert (await answer_lost(bench, same_key, arrives=False)).code != code

    play(tmp_path, story, COLLECTED if same_key else GENERATED)


def test_the_answer_was_lost_and_nothing_is_pinned(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.change(cloud=ShakyCloud(bench.parties().cloud, {"pin"}))
        result = await bench.insert()
        assert (result.verdict, result.code, "did not arrive" in result.detail) == (
            Verdict.HELD, "registry-unreachable", True,
        )  # fmt: skip

    play(tmp_path, story, GENERATED)


# ---- the registry says no, and shows what it holds


class PinnedBefore(PinnedInBetween):
    """Another station pins just before, and this one hears the no, with `show` of what the registry holds."""

    show: Callable[[PinRecord], PinRecord | None] = staticmethod(lambda stored: stored)

    async def pin(self, *args: Any) -> PinRecord:
        self.there = await self.bench.insert(self.bench.slot(name="twin"), "st-02")
        try:
            return await self.cloud.pin(*args)
        except CloudRefusedError as error:
            shown = error.stored and self.show(error.stored)
            raise CloudRefusedError(error.code, str(error), shown) from error


@pytest.mark.parametrize(("same_key", "code"), [(True, "pin-refused"), (False, "other-key-pinned")])
def test_a_refusal_names_station_and_job_of_what_is_stored(tmp_path: Path, same_key: bool, code: str) -> None:
    async def story(bench: Bench) -> None:
        make_twin(bench, same_key=same_key)
        asked = PinnedBefore(bench, arrives=True)
        bench.change(cloud=asked)
        result = await bench.insert()
        assert asked.there is not None
        assert (result.verdict, result.code) == (Verdict.QUARANTINE, code), result
        assert f"pinned by st-02 under job {asked.there.job}" in result.detail
        assert RecordKind.PIN_REFUSED in await on_record(bench)
        told = await report(bench)
        assert (told.lost, told.quarantined, told.finish_me) == (1, 0, ()), told

    play(tmp_path, story, COLLECTED if same_key else GENERATED)


def forgeries(bench: Bench, other: PinRecord) -> dict[str, Callable[[PinRecord], PinRecord]]:
    """What a registry may show that is not about this device, or not signed by whom it says."""
    return {
        "another unit's record": lambda _: other,
        "another unit's statement": lambda found: replace(found, statement=other.statement),
        "a statement that nobody signed": lambda found: replace(
            found, statement=Envelope(found.statement.payload, found.statement.payload_type)
        ),
        "a receipt that nobody signed": lambda found: replace(
            found, receipt=Envelope(found.receipt.payload, found.receipt.payload_type)
        ),
        "active without a completion": lambda found: replace(
            found, state="active", completion=None, completion_receipt=None
        ),
    }


NAMES = [
    "another unit's record", "another unit's statement", "a statement that nobody signed",
    "a receipt that nobody signed", "active without a completion",
]  # fmt: skip


async def shown_a_forgery(bench: Bench, name: str) -> UnitFinished:
    other, _ = await finished(bench.plant, "dev-other")
    make_twin(bench, same_key=False)
    asked = PinnedBefore(bench, arrives=True)
    asked.show = forgeries(bench, other)[name]  # type: ignore[method-assign]
    bench.change(cloud=asked)
    return await bench.insert()


@pytest.mark.parametrize("name", NAMES)
def test_a_forged_record_with_a_refusal_is_no_conflict_but_a_lie(tmp_path: Path, name: str) -> None:
    async def story(bench: Bench) -> None:
        result = await shown_a_forgery(bench, name)
        assert (result.verdict, result.code) == (Verdict.FAIL, "registry-wrong"), result
        assert "pinned by st-02 under job" not in result.detail, "what is not believed is not shown as a fact"
        assert RecordKind.PIN_REFUSED not in await on_record(bench), "nor is the unit lost on a liar's word"

    play(tmp_path, story, GENERATED)


def test_a_station_that_believed_a_forged_record_would_be_seen(tmp_path: Path) -> None:
    """Negative control."""

    def gullible(_root: Any, record: PinRecord) -> PinStatement:
        return read(record.statement, PinStatement)

    async def story(bench: Bench) -> None:
        with mock.patch.object(checks, "verified", gullible):
            result = await shown_a_forgery(bench, "a statement that nobody signed")
        assert (result.code, "pinned by st-02" in result.detail) == ("other-key-pinned", True), result

    play(tmp_path, story, GENERATED)
