"""The end of an order: no unit is begun in vain, none is stranded, and what may have been counted is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.device import NoAnswerError
from hsm.signer import SignerError
from station import floor
from station.attempt import Attempt
from station.events import AnyEvent, AttemptBegan, Step, StepDone, UnitFinished, Verdict
from station.exits import Exit
from station.faults import Fault, fault
from station.floor import Floor
from station.headroom import Headroom
from station.jobs import RecordKind
from station.line import StopSwitch
from station.order_report import room_left
from station.port import Batch
from station.voice import Voice
from station.wiring import outbox_maker
from tests.flow.bench import Bench, Down, Looking, WrappedSlot
from tests.flow.books import drain, play, report, store, under
from trust.codes import Code
from trust.identity import DeviceId


def test_the_unit_after_the_last_goes_on_under_the_next_order(tmp_path: Path) -> None:
    """The signer refuses an intent that is on record: it was never signed, and binds nobody."""

    async def story(bench: Bench) -> None:
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"))).verdict is Verdict.PASS
        refused = await bench.insert()  # with no count of its own: another station's unit was the last
        assert (refused.code, refused.step) == ("order-exhausted", Step.SIGNED)
        result = await under(bench)
        assert result.verdict is Verdict.PASS, result
        await drain(bench)
        assert (await report(bench)).before_signing == 1
        again = await bench.insert()
        assert (again.verdict, again.code) == (Verdict.FAIL, "passed-other-order")

    play(tmp_path, story, quantity=1, allowance=0)


def test_an_intent_that_may_have_been_signed_stays_with_its_order(tmp_path: Path) -> None:
    """The signer was silent after its refusal: nobody knows what it did."""

    async def story(bench: Bench) -> None:
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"))).verdict is Verdict.PASS
        assert (await bench.insert()).code == "order-exhausted"
        steady = bench.parties().signer
        bench.change(signer=Down(steady, "sign_pin"))
        assert (await bench.insert()).code == "signer-down"
        bench.change(signer=steady)
        assert (await under(bench)).code == "other-order"

    play(tmp_path, story, quantity=1, allowance=0)


def test_no_unit_is_begun_that_could_not_be_completed(tmp_path: Path) -> None:
    """The allowance is for losses: with the quantity passed, the next unit is left as it is."""

    async def story(bench: Bench) -> None:
        room = Headroom(1)
        assert (await bench.insert(headroom=room)).verdict is Verdict.PASS
        bench.plant.new_device("dev-2")
        result = await bench.insert(bench.slot(name="dev-2"), headroom=room)
        assert (result.code, result.step, result.job) == ("order-full", Step.ASSIGNED, ""), result
        assert result.exit_code == Exit.ORDER_EXHAUSTED
        assert bench.flash("dev-2").key is None, "untouched"
        assert (await bench.insert(headroom=room)).already, "what has passed may come again"
        assert (await under(bench, "dev-2")).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=1)


def test_a_unit_with_an_intent_is_never_stranded_between_two_orders(tmp_path: Path) -> None:
    """The signer was down, then the order filled: only the signer can say whether it has signed, so it is asked."""

    async def story(bench: Bench) -> None:
        room, steady = Headroom(1), bench.parties().signer
        bench.change(signer=Down(steady, "sign_pin"))
        assert (await bench.insert(headroom=room)).code == "signer-down"
        bench.change(signer=steady)
        bench.plant.new_device("dev-2")
        for counted in (room, await room_left(store(bench), bench.plant.work)):
            assert (await bench.insert(bench.slot(name="dev-2"), headroom=counted)).code == "order-full"
        # with no count of its own
        assert (await bench.insert(bench.slot(name="dev-2"), headroom=Headroom(1))).verdict is Verdict.PASS
        refused = await bench.insert(headroom=room)
        assert (refused.code, refused.step) == ("order-exhausted", Step.SIGNED)
        assert (await under(bench)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=1)


def test_an_intent_that_nobody_was_asked_to_sign_binds_nobody(tmp_path: Path) -> None:
    """The line stopped between the two steps, in the unit's first attempt."""

    async def story(bench: Bench) -> None:
        stop, room = StopSwitch(), Headroom(1)
        stopped = await bench.insert(
            stop=stop, emit=bench.at(Step.INTENDED, lambda: stop.set(fault("signer-down"))), headroom=room
        )
        assert (stopped.code, stopped.step) == ("line-stopped", Step.SIGNED)
        (await room_left(store(bench), bench.plant.work)).enter("x", DeviceId(b"\x01" * 12))
        assert (await under(bench)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=0)


@pytest.mark.parametrize("code", [Code.CHALLENGE_UNKNOWN, Code.STATEMENT_INVALID, Code.PROOF_INVALID, Code.KEY_WEAK])
def test_what_the_signer_refuses_to_sign_leaves_room_for_another_unit(tmp_path: Path, code: Code) -> None:
    class No(Down):
        def __getattr__(self, name: str) -> Any:
            async def refuse(*_: Any) -> Any:
                raise SignerError(code, "for a test")

            return refuse if name == self.verb else getattr(self.signer, name)

    async def story(bench: Bench) -> None:
        room, steady = Headroom(1), bench.parties().signer
        bench.change(signer=No(steady, "sign_pin"))
        assert (await bench.insert(headroom=room)).step is Step.SIGNED
        bench.change(signer=steady)
        bench.plant.new_device("dev-2")
        (await room_left(store(bench), bench.plant.work)).enter("x", DeviceId(bench.flash("dev-2").device_id))
        assert (await bench.insert(bench.slot(name="dev-2"), headroom=room)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=0)


def test_a_unit_that_the_signer_has_refused_stops_no_line_when_it_comes_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"))).verdict is Verdict.PASS
        assert (await bench.insert()).code == "order-exhausted"  # with no count of its own
        again = await bench.insert(headroom=await room_left(store(bench), bench.plant.work))
        assert (again.code, again.step) == ("order-full", Step.ASSIGNED), again

    play(tmp_path, story, quantity=1, allowance=0)


def test_no_unit_is_begun_that_the_allowance_does_not_cover(tmp_path: Path) -> None:
    class Broken(Down):
        async def report(self, _: Any) -> None:
            raise NoAnswerError("for a test")

    async def story(bench: Bench) -> None:
        room = await room_left(store(bench), bench.plant.work)
        failed = await bench.insert(WrappedSlot(bench.slot(), wrap=lambda it: Broken(it, "")), headroom=room)
        assert (failed.verdict, failed.step) == (Verdict.FAIL, Step.LOCKED), failed
        bench.plant.new_device("dev-2")
        for left in (room, await room_left(store(bench), bench.plant.work)):
            refused = await bench.insert(bench.slot(name="dev-2"), headroom=left)
            assert (refused.code, refused.step) == ("order-full", Step.ASSIGNED), refused
        assert bench.flash("dev-2").key is None
        assert (await bench.insert(headroom=room)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=0)


def test_a_line_stop_before_the_signer_was_asked_binds_no_intent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"))).verdict is Verdict.PASS
        assert (await bench.insert()).code == "order-exhausted"
        stop = StopSwitch()
        stopped = await bench.insert(stop=stop, emit=bench.at(Step.INTENDED, lambda: stop.set(fault("signer-down"))))
        assert (stopped.code, stopped.step) == ("line-stopped", Step.SIGNED)
        assert (await under(bench)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=0)


def test_a_completion_counts_though_the_unit_was_gone_at_the_last_look(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        room, slot = Headroom(1), bench.slot()

        class Pulled:
            def __init__(self, jobs: Any) -> None:
                self.jobs = jobs

            def __getattr__(self, name: str) -> Any:
                return getattr(self.jobs, name)

            async def record(self, job: Any, kind: RecordKind, envelope: Any) -> None:
                await self.jobs.record(job, kind, envelope)
                if kind is RecordKind.COMPLETION:
                    slot.unplug()

        steady = bench.parties().jobs
        bench.change(jobs=Pulled(steady))
        looks = []
        first = await bench.insert(WrappedSlot(slot, wrap=lambda device: Looking(device, looks)), headroom=room)
        assert first.verdict is Verdict.FAIL, first
        bench.change(jobs=steady)
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"), headroom=room)).code == "order-full"

    play(tmp_path, story, quantity=1, allowance=1)


async def _one_that_fails_once(bench: Bench) -> tuple[list[str], int]:
    """The order's last unit is pulled when it has proved its key, and goes on: who else is let in then; exit code."""
    room, slot, let_in = Headroom(1), bench.slot(), []
    other = bench.plant.new_device("dev-2")

    def listen(event: AnyEvent) -> None:
        if isinstance(event, StepDone) and event.step is Step.PROVEN and not let_in:
            slot.unplug()
        if isinstance(event, UnitFinished):
            slot.plug()
        if isinstance(event, AttemptBegan) and bench.flash().key is not None:
            try:
                room.enter("elsewhere", other)
                let_in.append("let in")
            except Fault as turned_away:
                let_in.append(turned_away.code)

    finished = await in_floor(bench, slot, room, 1, listen)
    return let_in, finished.exit_code


def test_a_unit_keeps_its_place_between_a_failure_and_the_attempt_that_follows(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert await _one_that_fails_once(bench) == (["order-full"], Exit.PASSED)

    play(tmp_path, story, quantity=1, allowance=1)


def test_a_floor_that_gave_it_back_would_let_another_unit_in(tmp_path: Path) -> None:
    """Negative control."""

    class Forgetful(Attempt):
        async def close(self) -> None:
            self._line.headroom._in_work.clear()
            await super().close()

    async def story(bench: Bench) -> None:
        with mock.patch.object(floor, "Attempt", Forgetful):
            assert (await _one_that_fails_once(bench))[0] == ["let in"]

    play(tmp_path, story, quantity=1, allowance=1)


def test_a_unit_that_has_failed_takes_no_room_from_one_that_has_not(tmp_path: Path) -> None:
    """Signed for, failed, its room given away: inserted again it waits, and neither unit is completed in vain."""

    class Broken:
        def __init__(self, device: Any) -> None:
            self._device = device

        def __getattr__(self, name: str) -> Any:
            return getattr(self._device, name)

        async def report(self, _: Any) -> None:
            raise NoAnswerError("for a test")

    async def story(bench: Bench) -> None:
        room = Headroom(1)
        failed = await bench.insert(WrappedSlot(bench.slot(), wrap=Broken), headroom=room)
        assert (failed.verdict, failed.step) == (Verdict.FAIL, Step.LOCKED), failed
        bench.plant.new_device("dev-2")
        other = DeviceId(bench.flash("dev-2").device_id)
        room.enter("dev-2", other)
        again = await bench.insert(headroom=room)
        assert (again.code, again.step) == ("order-full", Step.ASSIGNED), again
        assert "no other order takes it" in again.detail
        assert (await bench.insert(bench.slot(name="dev-2"), headroom=room)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=1)


class Pulled(Down):
    """The signer has signed the completion and counted it when the unit is gone."""

    slot: Any = None

    def __getattr__(self, name: str) -> Any:
        async def sign(*asked: Any) -> Any:
            done = await getattr(self.signer, name)(*asked)
            self.slot.unplug()
            return done

        return sign if name == self.verb else getattr(self.signer, name)


def in_floor(bench: Bench, slot: Any, room: Headroom, retries: int, listen: Callable[[AnyEvent], None]) -> Any:
    line = bench.plant.line(bench.parties(), emit=listen, headroom=room)
    make = outbox_maker(line, store(bench), bench.plant.stamp())
    return Floor(line, [slot], make, Voice()).run(Batch(retries=retries))


@pytest.mark.parametrize("retries", [0, 1])
def test_a_completion_that_may_have_been_signed_counts_in_this_batch_and_the_next(tmp_path: Path, retries: int) -> None:
    """Whatever the attempts after it end with: here nobody is there any more."""

    async def story(bench: Bench) -> None:
        room, slot, told = Headroom(1), bench.slot(), list[AnyEvent]()
        steady = bench.parties().signer
        pulled = Pulled(steady, "sign_completion")
        pulled.slot = slot
        bench.change(signer=pulled)
        watched = WrappedSlot(slot, wrap=lambda device: Looking(device, []))
        await in_floor(bench, watched, room, retries, told.append)
        ends = [(each.step, each.code) for each in told if isinstance(each, UnitFinished)]
        assert ends[0][0] is Step.PASSED, ends
        assert [code for _, code in ends[1:]] == ["port-missing"] * retries
        bench.change(signer=steady)
        bench.plant.new_device("dev-2")
        for left in (room, await room_left(store(bench), bench.plant.work)):
            full = await bench.insert(bench.slot(name="dev-2"), headroom=left)
            assert (full.code, str(DeviceId(bench.flash().device_id)) in full.detail) == ("order-full", True), full
        slot.plug()
        assert (await bench.insert(slot, headroom=room)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=1)


def test_a_completion_that_the_signer_refuses_leaves_room_for_another_unit(tmp_path: Path) -> None:
    """In this batch and in the next: an order of one ends with one good unit."""

    class No(Down):
        def __getattr__(self, name: str) -> Any:
            async def refuse(*_: Any) -> Any:
                raise SignerError(Code.CHALLENGE_UNKNOWN, "for a test")

            return refuse if name == self.verb else getattr(self.signer, name)

    async def story(bench: Bench) -> None:
        room, steady = Headroom(1), bench.parties().signer
        bench.change(signer=No(steady, "sign_completion"))
        refused = await bench.insert(headroom=room)
        assert (refused.code, refused.step) == ("challenge-unknown", Step.PASSED), refused
        bench.change(signer=steady)
        for number, left in ((2, room), (3, await room_left(store(bench), bench.plant.work))):
            bench.plant.new_device(f"dev-{number}")
            left.enter(f"dev-{number}", DeviceId(bench.flash(f"dev-{number}").device_id))
        assert (await bench.insert(bench.slot(name="dev-2"), headroom=room)).verdict is Verdict.PASS

    play(tmp_path, story, quantity=1, allowance=2)


def test_an_own_completion_that_the_ledger_has_lost_is_taken_back_from_the_registry(tmp_path: Path) -> None:
    """The ledger was put back as it was before the unit; the registry has all of it."""

    async def story(bench: Bench) -> None:
        ledger = bench.plant.directory / "st-01.db"
        backup = ledger.read_bytes()
        assert (await bench.insert()).verdict is Verdict.PASS
        await drain(bench)
        await store(bench).close()
        ledger.write_bytes(backup)
        bench.change(jobs=bench.plant.jobs())
        result = await bench.insert()
        assert (result.verdict, result.already) == (Verdict.PASS, True), result
        await drain(bench)
        assert (await report(bench)).passed == 1

    play(tmp_path, story)
