"""Work begun ahead that fails: the step that needs its result names the fault, and no task is forgotten."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.device import NoAnswerError, RefusalReason, RefusedError
from fixtures.families.smp.emulated.faults import Faults
from hsm.signer import SignerUnavailableError
from station.ahead import Ahead
from station.attempt import Attempt
from station.cloud import CloudRefusedError
from station.events import Step, Verdict
from station.faults import Fault, fault
from station.floor import Floor
from station.jobs import LedgerError, RecordKind
from station.line import Line, StopSwitch
from station.port import Batch
from station.voice import Voice
from station.wiring import outbox_maker
from tests.flow.bench import Bench, ShakyCloud, WrappedSlot
from tests.flow.books import nothing_forgotten, store
from trust.codes import Code


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


# ---- the write that is begun ahead


class SlowWrite:
    """A device whose anchor takes its time; `log` says what became of the write, and what others did meanwhile."""

    def __init__(self, device: Any, log: list[str], takes_s: float = 0.2, error: Exception | None = None) -> None:
        self.device, self.log, self.takes_s, self.error = device, log, takes_s, error
        self.begun = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    async def write_anchor(self, anchor: Any) -> None:
        self.log.append("write begun")
        self.begun.set()
        try:
            await asyncio.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            await self.device.write_anchor(anchor)
        except asyncio.CancelledError:
            self.log.append("write cut short")
            raise
        self.log.append("written")

    async def close(self) -> None:
        self.log.append("link closed")
        await self.device.close()


class Lamps:
    """Puts each lamp into the log."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def show(self, _: str, lamp: Any) -> None:
        self.log.append(f"lamp {lamp.value}")


class Refusing:
    """A signer, registry or ledger that fails at one verb while the anchor is being written."""

    def __init__(self, party: Any, verb: str, error: Exception) -> None:
        self.party, self.verb, self.error = party, verb, error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any) -> Any:
            await asyncio.sleep(0.02)
            raise self.error

        return fail if name == self.verb else getattr(self.party, name)


def refuse(bench: Bench, who: str) -> None:
    parties = bench.parties()
    if who == "signer":
        bench.change(signer=Refusing(parties.signer, "sign_pin", SignerUnavailableError("down")))
    elif who == "registry":
        bench.change(cloud=Refusing(parties.cloud, "pin", CloudRefusedError(Code.ORDER_REFUSES, "no")))
    else:
        bench.change(signer=Refusing(parties.signer, "sign_pin", ZeroDivisionError("a bug")))


async def stopped_in_the_middle(bench: Bench, who: str) -> list[str]:
    """What happened, in order, when this party fails while the anchor is being written; in a floor, for its lamps."""
    log: list[str] = []
    steady = bench.parties()
    refuse(bench, who)
    line = bench.plant.line(bench.parties(), indicators=Lamps(log))
    slot = WrappedSlot(bench.slot(), lambda device: SlowWrite(device, log))
    finished = await Floor(line, [slot], lambda stop: quiet_outbox(bench, line, stop), Voice()).run(Batch(retries=0))
    assert finished.passed == 0
    bench.change(signer=steady.signer, cloud=steady.cloud)
    return log


def quiet_outbox(bench: Bench, line: Line, stop: Callable[[Fault], None]) -> Any:
    return outbox_maker(line, store(bench), bench.plant.stamp())(stop)


@pytest.mark.parametrize("who", ["signer", "registry", "bug"])
def test_a_write_that_was_begun_ends_before_there_is_a_verdict_or_a_lamp(tmp_path: Path, who: str) -> None:
    async def story(bench: Bench) -> None:
        async with nothing_forgotten():
            log = await stopped_in_the_middle(bench, who)
        assert log == ["lamp working", "write begun", "written", "lamp fail", "link closed"], log
        assert bench.flash().anchor is not None
        again: list[str] = []
        result = await bench.insert(WrappedSlot(bench.slot(), lambda device: SlowWrite(device, again)))
        assert result.verdict is Verdict.PASS, result
        assert again.count("write begun") == 1, "only the one that must be refused after the lock"

    play(tmp_path, story)


def test_a_flow_that_cut_it_short_would_be_seen(tmp_path: Path) -> None:
    """Negative control."""

    async def story(bench: Bench) -> None:
        with mock.patch.object(Ahead, "finish", cut_short):
            log = await stopped_in_the_middle(bench, "signer")
        assert "write cut short" in log
        assert "written" not in log

    play(tmp_path, story)


async def cut_short(ahead: Ahead[Any]) -> None:
    task, ahead._task = ahead._task, None
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("takes_s", [0.0, 0.2])
def test_a_write_that_fails_is_told_by_the_step_that_needs_it(tmp_path: Path, takes_s: float) -> None:
    async def story(bench: Bench) -> None:
        error = RefusedError(RefusalReason.FLASH_FAILED, "worn out")
        async with nothing_forgotten():
            slot = WrappedSlot(bench.slot(), lambda device: SlowWrite(device, [], takes_s, error))
            result = await bench.insert(slot)
            assert (result.code, result.step) == ("device-refused", "anchored"), result
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


@pytest.mark.parametrize("takes_s", [0.0, 0.2])
def test_a_write_that_fails_beside_another_failure_is_told_by_nobody(tmp_path: Path, takes_s: float) -> None:
    """The earlier step's fault is the verdict; the next insertion finds no anchor and writes it."""

    async def story(bench: Bench) -> None:
        steady = bench.parties()
        bench.change(cloud=Refusing(steady.cloud, "pin", CloudRefusedError(Code.ORDER_REFUSES, "no")))
        error = RefusedError(RefusalReason.FLASH_FAILED, "worn out")
        async with nothing_forgotten():
            result = await bench.insert(WrappedSlot(bench.slot(), lambda device: SlowWrite(device, [], takes_s, error)))
        assert (result.code, result.step) == ("registry-refused", "pinned"), result
        assert bench.flash().anchor is None
        bench.change(cloud=steady.cloud)
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


@pytest.mark.parametrize(("who", "wanted"), [("registry", "outcome-unknown"), ("signer", "signer-down")])
def test_a_write_that_nobody_can_read_back_is_not_tried_again_whatever_failed_beside_it(
    tmp_path: Path, who: str, wanted: str
) -> None:
    """Graver than what can be tried again or held; a line stop is told as it is, and the next insertion reads."""

    class Deaf(SlowWrite):
        """Takes the anchor, and answers nothing any more."""

        async def write_anchor(self, anchor: Any) -> None:
            await super().write_anchor(anchor)
            raise NoAnswerError("deaf")

        async def read_anchor(self) -> Any:
            if "written" in self.log:
                raise NoAnswerError("deaf")
            return await self.device.read_anchor()

    async def story(bench: Bench) -> None:
        steady, log = bench.parties(), list[str]()
        if who == "registry":
            bench.change(cloud=ShakyCloud(steady.cloud, {"pin", "history"}))
        else:
            refuse(bench, who)
        async with nothing_forgotten():
            result = await bench.insert(WrappedSlot(bench.slot(), lambda device: Deaf(device, log)))
        step = "anchored" if who == "registry" else "signed"
        assert (result.code, result.step) == (wanted, step), result
        bench.change(signer=steady.signer, cloud=steady.cloud)

    play(tmp_path, story)


def test_a_write_goes_on_when_whoever_waits_for_it_is_cancelled(tmp_path: Path) -> None:
    """No caller does that today; the write does not depend on it."""

    async def story(bench: Bench) -> None:
        log: list[str] = []
        devices: list[SlowWrite] = []

        def slow(device: Any) -> SlowWrite:
            devices.append(SlowWrite(device, log))
            return devices[-1]

        work = Attempt(bench.plant.line(bench.parties()), WrappedSlot(bench.slot(), slow))
        waits = asyncio.create_task(work.passed())
        await asyncio.sleep(0)  # its slot is open then
        await devices[0].begun.wait()
        await asyncio.sleep(0.1)  # the pin is done by now: the flow waits for the write
        waits.cancel()
        await asyncio.wait({waits})
        await work.close()
        assert log == ["write begun", "written", "link closed"]

    play(tmp_path, story)


def test_no_write_begins_once_the_line_has_stopped(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stop = StopSwitch()
        result = await bench.insert(stop=stop, emit=bench.at(Step.INTENDED, lambda: stop.set(fault("signer-wrong"))))
        assert (result.code, result.step) == ("line-stopped", "signed"), result
        assert bench.flash().anchor is None

    play(tmp_path, story)


def test_no_anchor_is_written_before_the_intent_is_durable(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        log: list[str] = []
        steady = bench.parties().jobs
        bench.change(jobs=Refusing(steady, "record", LedgerError("disk full")))
        result = await bench.insert(WrappedSlot(bench.slot(), lambda device: SlowWrite(device, log)))
        assert (result.code, result.step) == ("ledger-failed", "intended"), result
        assert (log, bench.flash().anchor) == (["link closed"], None)
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
