"""Work begun ahead that fails: the step that needs its result names the fault, and no task is forgotten."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.device import NoAnswerError
from fixtures.families.smp.emulated.faults import Faults
from hsm.signer import SignerUnavailableError
from station.ahead import Ahead
from station.events import Verdict
from station.jobs import LedgerError, RecordKind
from tests.flow.bench import Bench, WrappedSlot
from tests.flow.books import nothing_forgotten


def play(directory: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with Bench.make(directory) as bench:
            await story(bench)

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def nothing_said_of_forgotten_tasks(caplog: pytest.LogCaptureFixture):
    """The loop's own words for a task whose error nobody took, or that was still running."""
    caplog.set_level(logging.DEBUG, "asyncio")
    yield
    said = [each.message for each in caplog.records if each.name == "asyncio" and each.levelno >= logging.ERROR]
    assert said == []


class DownFor:
    """A signer that gives no challenge for this purpose while it is `down`; `late_s` before it says so."""

    def __init__(self, signer: Any, purpose: str, late_s: float = 0.0) -> None:
        self.signer, self.purpose, self.late_s = signer, purpose, late_s
        self.down, self.asked = True, 0

    async def challenge(self, request: Any) -> bytes:
        if not self.down or request.purpose != self.purpose:
            return await self.signer.challenge(request)
        self.asked += 1
        await asyncio.sleep(self.late_s)
        raise SignerUnavailableError("down")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.signer, name)


@pytest.mark.parametrize("late_s", [0.0, 0.2])
@pytest.mark.parametrize(("purpose", "step", "reached"), [("pin", "proven", "keyed"), ("report", "locked", "verified")])
def test_a_challenge_that_nobody_gave_is_signer_down_at_the_step_that_needs_it(
    tmp_path: Path, purpose: str, step: str, reached: str, late_s: float
) -> None:
    async def story(bench: Bench) -> None:
        signer = DownFor(bench.parties().signer, purpose, late_s)
        bench.change(signer=signer)
        async with nothing_forgotten():
            result = await bench.insert()
            assert (result.verdict, result.code, result.step) == (Verdict.FAIL, "signer-down", step), result
        done = [each.step for each in bench.plant.events if type(each).__name__ == "StepDone"]
        assert done[-1] == reached
        assert bench.flash().key is not None, "the device has made its key meanwhile"
        key, signer.down = bench.flash().key, False
        async with nothing_forgotten():
            again = await bench.insert()
        assert (again.verdict, again.attempt, bench.flash().key) == (Verdict.PASS, 2, key), again

    play(tmp_path, story)


@pytest.mark.parametrize("late_s", [0.0, 5.0])
def test_the_step_fails_itself_while_the_challenge_fails_too(tmp_path: Path, late_s: float) -> None:
    """The device's fault is the one that is told; the signer's is dropped, answered or not."""

    async def story(bench: Bench) -> None:
        signer = DownFor(bench.parties().signer, "pin", late_s)
        bench.change(signer=signer)
        async with nothing_forgotten():
            result = await bench.insert(bench.slot(Faults(generation_fails=True)))
        assert (result.code, result.step, signer.asked) == ("generation-failed", "keyed", 1), result
        signer.down = False
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


def test_the_last_look_fails_while_the_ledger_fails(tmp_path: Path) -> None:
    """Side by side; the ledger's fault ends the step, and nobody is left to take the look's."""

    class Full:
        def __init__(self, jobs: Any) -> None:
            self.jobs, self.full = jobs, True

        def __getattr__(self, name: str) -> Any:
            return getattr(self.jobs, name)

        async def record(self, job: Any, kind: RecordKind, envelope: Any) -> None:
            if self.full and kind is RecordKind.COMPLETION_INTENT:
                await asyncio.sleep(0.05)  # the look is over by then
                raise LedgerError("disk full")
            await self.jobs.record(job, kind, envelope)

    class Gone:
        """A device that is gone once it has signed its report."""

        def __init__(self, device: Any) -> None:
            self.device, self.reported = device, False

        def __getattr__(self, name: str) -> Any:
            self.reported = self.reported or name == "report"
            return getattr(self.device, name)

        async def identify(self) -> Any:
            if self.reported:
                raise NoAnswerError("gone")
            return await self.device.identify()

    async def story(bench: Bench) -> None:
        steady = bench.parties().jobs
        full = Full(steady)
        bench.change(jobs=full)
        async with nothing_forgotten():
            result = await bench.insert(WrappedSlot(bench.slot(), Gone))
        assert (result.code, result.step) == ("ledger-failed", "passed"), result
        full.full = False
        async with nothing_forgotten():
            result = await bench.insert(WrappedSlot(bench.slot(), Gone))
        assert (result.code, result.step) == ("no-answer", "passed"), result
        async with nothing_forgotten():
            assert (await bench.insert()).verdict is Verdict.PASS
        bench.change(jobs=steady)

    play(tmp_path, story)


@pytest.mark.parametrize("late_s", [0.0, 5.0])
def test_a_drop_that_forgot_its_task_would_be_seen(
    tmp_path: Path, late_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Negative control."""

    async def forgetful(ahead: Ahead[Any]) -> None:
        ahead._task = None

    async def story(bench: Bench) -> None:
        bench.change(signer=DownFor(bench.parties().signer, "pin", late_s))
        with (
            mock.patch.object(Ahead, "drop", forgetful),
            pytest.raises(AssertionError, match=r"still running|nobody saw"),
        ):
            async with nothing_forgotten():
                await bench.insert(bench.slot(Faults(generation_fails=True)))
        caplog.clear()

    play(tmp_path, story)
