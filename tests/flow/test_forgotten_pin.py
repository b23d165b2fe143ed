"""A registry that acknowledged a pin and does not know it any more, or shows another receipt: no green on its old word."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from station import checks
from station.cloud import PinRecord
from station.events import Step, UnitFinished, Verdict
from station.exits import Exit
from station.jobs import RecordKind
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import drain, keep_orders, on_record, report
from tests.flow.unit_causes import power_failed
from trust.dsse import Envelope
from trust.statement import Receipt, read

Show = Callable[[PinRecord | None], PinRecord | None]


def play(path: Path, story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with Bench.make(path) as bench:
            await keep_orders(bench)
            await story(bench)

    asyncio.run(whole())


@dataclasses.dataclass(slots=True)
class Showing(ShakyCloud):
    """A registry that shows `show` of what it holds when it is asked."""

    show: Show = lambda held: held

    async def history(self, *args: Any) -> PinRecord | None:
        return self.show(await self.cloud.history(*args))


async def forgotten(bench: Bench) -> UnitFinished:
    """Pinned and anchored, the receipt on record; then the registry is put back from a backup of the day before."""
    assert (await power_failed(bench)).code == "power-failed"
    assert RecordKind.PIN_RECEIPT in await on_record(bench)
    bench.change(cloud=Showing(bench.parties().cloud, show=lambda _: None))
    return await bench.insert()


def test_an_acknowledged_pin_that_is_gone_stops_the_line(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        for _ in range(2):
            result = await forgotten(bench) if bench.parties().cloud is steady else await bench.insert()
            assert (result.code, result.exit_code) == ("registry-wrong", Exit.LINE_STOPPED), result
            assert "does not know it" in result.detail
        assert RecordKind.COMPLETION_INTENT not in await on_record(bench)
        bench.change(cloud=steady)  # the right database is back
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


def test_a_station_that_went_by_the_old_receipt_would_be_seen(tmp_path: Path) -> None:
    """Negative control: green, and no pin in the cloud to become active."""

    def trusting(_root: Any, _sent: Envelope, _held: PinRecord | None, *, answer: Envelope | None) -> Envelope:
        assert answer is not None
        return answer

    async def story(bench: Bench) -> None:
        with mock.patch.object(checks, "read_back", trusting):
            assert (await forgotten(bench)).verdict is Verdict.PASS

    play(tmp_path, story)


def test_a_receipt_that_the_outbox_brought_meanwhile_is_no_lost_pin(tmp_path: Path) -> None:
    """Asked before the outbox delivered, its receipt found after."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        assert (await bench.insert()).verdict is Verdict.HELD

        class Early(ShakyCloud):
            async def history(self, *args: Any) -> PinRecord | None:
                found: PinRecord | None = await self.cloud.history(*args)
                if found is None:
                    bench.change(cloud=steady)
                    assert (await drain(bench)).delivered == 1
                return found

        bench.change(cloud=Early(steady))
        result = await bench.insert()
        assert (result.verdict, result.already) == (Verdict.PASS, False), result
        bench.change(cloud=steady)
        await drain(bench)
        assert (await report(bench)).passed == 1

    play(tmp_path, story)


def test_another_receipt_for_the_same_pin_stops_the_line(tmp_path: Path) -> None:
    """The same statement has the same receipt, for ever: a registry that shows a second one has lost the first."""

    async def story(bench: Bench) -> None:
        signer = bench.plant.receipt_signer()

        def another(held: PinRecord | None) -> PinRecord | None:
            if held is None:
                return None
            told = msgspec.structs.replace(read(held.receipt, Receipt), registered_at="2026-01-31T12:00:00.000001Z")
            return dataclasses.replace(held, receipt=signer.sign_receipt(told))

        bench.change(cloud=Showing(bench.parties().cloud, show=another))
        result = await bench.insert()
        assert (result.code, result.step) == ("registry-wrong", Step.PINNED), result
        assert "read back is not the one" in result.detail

    play(tmp_path, story)
