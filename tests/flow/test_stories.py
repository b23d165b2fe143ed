"""What the flow does with a unit that does not come fresh and alone: held, lost answers, other keys, other stations."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.families.smp.emulated.faults import Faults, Strike, Trouble, Verb
from station.events import AttemptBegan, BatchFinished, LineStopped, Step, UnitFinished, Verdict
from station.floor import Floor
from station.jobs import RecordKind
from station.line import Line
from station.outbox import Outbox
from station.port import Batch
from station.voice import Voice
from tests.faults import disk
from tests.flow.bench import Bench, ShakyCloud, WrappedSlot, new_private
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.statement import Completion, PinStatement, read


def play(directory: Path, story: Callable[[Bench], Awaitable[Any]], stations=("st-01",), **order) -> Any:
    async def whole() -> Any:
        async with Bench.make(directory, stations, **order) as bench:
            return await story(bench)

    return asyncio.run(whole())


async def pins(bench: Bench, name: str = "dev-1") -> str:
    """What the registry says of the unit."""
    record = await bench.parties().cloud.history(DeviceId(bench.flash(name).device_id))
    return "none" if record is None else record.state


async def records(bench: Bench, station: str = "st-01") -> dict[RecordKind, Envelope]:
    jobs = bench.parties(station).jobs
    (found,) = await jobs.of_device(DeviceId(bench.flash().device_id))
    return dict(found.records)


def outbox(bench: Bench, line: Line, stop_line: Callable[[Any], None] = lambda _: None) -> Outbox:
    store = bench.parties(line.station).jobs
    return Outbox(
        store,
        line.cloud,
        root=line.root,
        stamp=bench.plant.stamp(line.station),
        stop_line=stop_line,
    )


# ---- held


@pytest.mark.parametrize("applied", [False, True])
def test_held_and_finished_when_the_way_is_open_again(tmp_path: Path, applied: bool):
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history"}, after=applied))
        first = await bench.insert()
        assert (first.verdict, first.code, first.exit_code) == (Verdict.HELD, "registry-unreachable", 7)
        assert await _unfinished(bench) == [first.job]
        bench.change(cloud=steady)
        intended = (await records(bench))[RecordKind.INTENT].payload
        second = await bench.insert()
        assert (second.verdict, second.job, second.fingerprint != "") == (Verdict.PASS, first.job, True), second
        assert (await records(bench))[RecordKind.PIN].payload == intended
        assert await _unfinished(bench) == []

    play(tmp_path, story)


async def _unfinished(bench: Bench) -> list[str]:
    return [str(each.job_id) for each in await bench.parties().jobs.unfinished("order-1")]


def test_no_pass_without_a_receipt(tmp_path: Path):
    """The registry takes everything and never answers: held again and again, never passed, one statement."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history", "complete"}, after=True))
        found = [await bench.insert() for _ in range(3)]
        assert {each.verdict for each in found} == {Verdict.HELD}
        assert RecordKind.COMPLETION not in await records(bench)
        bench.change(cloud=steady)
        assert await pins(bench) == "provisional"

    play(tmp_path, story)


def test_a_pin_whose_answer_was_lost_is_read_back_and_the_unit_goes_on(tmp_path: Path):
    async def story(bench: Bench) -> None:
        bench.change(cloud=ShakyCloud(bench.parties().cloud, {"pin"}, after=True))
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


# ---- lost answers of the device


@pytest.mark.parametrize("verb", [Verb.GENERATE, Verb.WRITE_ANCHOR, Verb.LOCK])
@pytest.mark.parametrize(
    "trouble", [Trouble.ANSWER_LOST, Trouble.REQUEST_LOST, Trouble.ANSWER_TWICE, Trouble.ANSWER_LATE]
)
def test_a_write_without_an_answer_is_read_back_before_anything_else(tmp_path: Path, verb: Verb, trouble: Trouble):
    async def story(bench: Bench) -> None:
        slot = bench.slot(Faults(strikes=(Strike(verb, trouble, delay_s=0.7),)))
        result = await bench.insert(slot)
        assert result.verdict is Verdict.PASS, result
        assert slot._device.seen[verb] <= 3

    play(tmp_path, story)


@pytest.mark.parametrize("trouble", [Trouble.ANSWER_LOST, Trouble.ANSWER_GARBLED, Trouble.ANSWER_TWICE])
@pytest.mark.parametrize("verb", [Verb.IDENTIFY, Verb.PUBLIC_KEY, Verb.PROVE, Verb.READ_ANCHOR, Verb.REPORT])
def test_one_lost_answer_to_a_question_is_asked_again(tmp_path: Path, verb: Verb, trouble: Trouble):
    async def story(bench: Bench) -> None:
        assert (await bench.insert(bench.slot(Faults(strikes=(Strike(verb, trouble),))))).verdict is Verdict.PASS

    play(tmp_path, story)


def test_power_lost_as_the_key_was_made_gives_the_same_job_the_same_key(tmp_path: Path):
    async def story(bench: Bench) -> None:
        slot = bench.slot(Faults(strikes=(Strike(Verb.GENERATE, Trouble.POWER_LOST_AFTER),)))
        assert (await bench.insert(slot)).verdict is Verdict.FAIL
        held = bench.flash().key
        assert held is not None
        slot._device.power_on()
        result = await bench.insert(slot)
        assert result.verdict is Verdict.PASS
        assert bench.flash().key == held

    play(tmp_path, story)


# ---- keys that were there before


def test_a_key_of_unknown_origin_is_replaced_and_the_ledger_says_so(tmp_path: Path):
    async def story(bench: Bench) -> None:
        bench.give_key()
        before = bench.flash().key
        result = await bench.insert()
        assert result.verdict is Verdict.PASS, result
        assert bench.flash().key != before
        (told,) = disk.events(tmp_path / "st-01.db", "key-replaced")
        assert (told["job"], told["details"]) == (result.job, {"bound_to": "5a" * 16})

    play(tmp_path, story)


def test_a_key_of_unknown_origin_stays_untouched_while_the_registry_is_away(tmp_path: Path):
    async def story(bench: Bench) -> None:
        bench.give_key()
        before = bench.flash()
        bench.change(cloud=ShakyCloud(bench.parties().cloud, {"history"}))
        assert (await bench.insert()).code == "registry-needed"
        assert bench.flash() == before

    play(tmp_path, story)


def test_a_collected_key_is_taken_where_the_order_allows_an_unproven_origin(tmp_path: Path):
    async def story(bench: Bench) -> None:
        bench.give_key()
        before = bench.flash().key
        result = await bench.insert()
        assert (result.verdict, bench.flash().key) == (Verdict.PASS, before), result
        pin = read((await records(bench))[RecordKind.PIN], PinStatement)
        assert (pin.origin, pin.origin_proven, pin.job) == ("collected", False, "5a" * 16)

    play(tmp_path, story, origins=("collected",), unproven_origin=True)


def test_an_rsa_device_passes(tmp_path: Path):
    async def story(bench: Bench) -> None:
        result = await bench.insert()
        assert result.verdict is Verdict.PASS, result
        assert read((await records(bench))[RecordKind.PIN], PinStatement).key_type == "rsa-2048"

    play(tmp_path, story, key_type="rsa-2048")


# ---- two stations


async def pulled_out_after_the_pin(bench: Bench) -> UnitFinished:
    slot = bench.slot()
    result = await bench.insert(slot, emit=bench.at(Step.PINNED, slot.unplug))
    assert result.step in {"anchored", "verified"}, result  # its anchor was being written beside the pin
    return result


def test_a_unit_pinned_elsewhere_is_finished_here_with_the_stored_statement(tmp_path: Path):
    async def story(bench: Bench) -> None:
        first = await pulled_out_after_the_pin(bench)
        second = await bench.insert(station="st-02")
        assert (second.verdict, second.job, second.already) == (Verdict.PASS, first.job, False), second
        here, there = await records(bench, "st-02"), await records(bench)
        assert here[RecordKind.PIN] == there[RecordKind.PIN]
        assert read(here[RecordKind.COMPLETION], Completion).station == "st-02"
        signed = [(await bench.parties(each).signer.status()).signatures for each in ("st-01", "st-02")]
        assert [each.get("pin", 0) for each in signed] == [1, 0]

    play(tmp_path, story, ("st-01", "st-02"))


def test_a_unit_that_was_finished_elsewhere_has_passed_already_and_stops_no_line(tmp_path: Path):
    async def story(bench: Bench) -> None:
        await pulled_out_after_the_pin(bench)
        assert (await bench.insert(station="st-02")).verdict is Verdict.PASS
        await outbox(bench, bench.plant.line(bench.parties("st-02"), "st-02")).drain_once()
        assert await pins(bench) == "active"
        back = await bench.insert()
        assert (back.verdict, back.already, back.cloud) == (Verdict.PASS, True, "active"), back

    play(tmp_path, story, ("st-01", "st-02"))


def test_the_first_stations_statement_arrives_while_the_second_works_on_the_unit(tmp_path: Path):
    """It is pinned, for a key that the unit does not have any more: a named conflict at both, one pin, never active."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        assert (await bench.insert()).verdict is Verdict.HELD
        bench.change(cloud=steady)
        await bench.parties().jobs.keep_order(bench.plant.order)  # type: ignore[attr-defined]
        waiting = outbox(bench, bench.plant.line(bench.parties()))

        class Late(ShakyCloud):
            """Just before the second station's statement goes out."""

            async def pin(self, *args: Any) -> Any:
                await waiting.drain_once()
                return await self.cloud.pin(*args)

        bench.change("st-02", cloud=Late(bench.parties("st-02").cloud))
        there = await bench.insert(station="st-02")
        assert (there.verdict, there.code) == (Verdict.QUARANTINE, "other-key-pinned"), there
        assert RecordKind.PIN_REFUSED in await records(bench, "st-02")
        here = await bench.insert()
        assert (here.verdict, here.code) == (Verdict.QUARANTINE, "key-changed"), here
        assert await pins(bench) == "provisional"
        assert disk.query(tmp_path / "registry.db", "SELECT count(*) FROM pins") == [(1,)]

    play(tmp_path, story, ("st-01", "st-02"))


# ---- the floor


def floor_of(bench: Bench, slots: list[Any], said: list[Any], **changes: Any) -> Floor:
    line = bench.plant.line(bench.parties(), emit=said.append, **changes)
    return Floor(line, slots, lambda stop_line: outbox(bench, line, stop_line), Voice())


def test_a_line_stop_reaches_the_other_slots_at_their_next_step(tmp_path: Path):
    async def story(bench: Bench) -> tuple[BatchFinished, list[Any]]:
        private, said = new_private(), []
        for number in (2, 3):
            bench.plant.new_device(f"dev-{number}")
        slots = [
            bench.slot(Faults(weak_key=private)),
            bench.slot(Faults(weak_key=private), "dev-2"),
            bench.slot(Faults(generation_s=0.3), "dev-3"),
        ]
        return await floor_of(bench, slots, said).run(Batch()), said

    finished, said = play(tmp_path, story)
    ended = {each.slot: each for each in said if isinstance(each, UnitFinished)}
    stops = [each for each in said if isinstance(each, LineStopped)]
    assert [each.code for each in stops] == ["key-duplicate"]
    assert finished.exit_code == 4
    codes = sorted(each.code for each in ended.values())
    assert "key-duplicate" in codes
    assert ended["dev-3"].code == "line-stopped"


def test_a_bug_stops_the_line_and_does_not_vanish(tmp_path: Path):
    class Buggy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("a bug")

    async def story(bench: Bench) -> BatchFinished:
        bench.change(signer=Buggy())
        said: list[Any] = []
        finished = await floor_of(bench, [bench.slot()], said).run(Batch())
        (ended,) = [each for each in said if isinstance(each, UnitFinished)]
        assert (ended.code, ended.verdict) == ("internal", Verdict.FAIL)
        assert "a bug" in ended.detail
        return finished

    assert play(tmp_path, story).exit_code == 6


@pytest.mark.parametrize("where", ["open", "identify"])
def test_a_bug_while_waiting_for_the_next_unit_stops_the_line_and_the_other_units_get_a_verdict(
    tmp_path: Path, where: str
):
    class Silly:
        """A device whose identify has a bug."""

        async def identify(self) -> Any:
            raise RuntimeError("a bug")

        async def close(self) -> None:
            pass

    class Then(WrappedSlot):
        """A good slot until its unit has passed; then looking for the next one meets a bug."""

        async def open(self) -> Any:
            if not passed.is_set():
                return await self.slot.open()
            if where == "open":
                raise RuntimeError("a bug")
            return Silly()

    passed = asyncio.Event()

    async def story(bench: Bench) -> tuple[BatchFinished, list[Any]]:
        said: list[Any] = []
        bench.plant.new_device("dev-2")

        def emit(event: Any) -> None:
            said.append(event)
            if isinstance(event, UnitFinished) and event.slot == "dev-1":
                passed.set()

        slots: list[Any] = [Then(bench.slot()), bench.slot(Faults(generation_s=2.0), "dev-2")]
        line = bench.plant.line(bench.parties(), emit=emit)
        floor = Floor(line, slots, lambda stop_line: outbox(bench, line, stop_line), Voice())
        return await floor.run(Batch(count=3)), said

    finished, said = play(tmp_path, story)
    ended = {each.slot: each for each in said if isinstance(each, UnitFinished)}
    assert ended["dev-1"].verdict is Verdict.PASS
    assert (ended["dev-2"].verdict, ended["dev-2"].code) == (Verdict.FAIL, "line-stopped"), "a verdict at a step's end"
    (stop,) = [each for each in said if isinstance(each, LineStopped)]
    assert (stop.code, stop.detail) == ("internal", "RuntimeError: a bug")
    assert said[-1] == finished
    assert finished.exit_code == 6


def test_a_bug_in_the_outbox_stops_the_line_and_the_units_get_a_verdict(tmp_path: Path):
    class Buggy:
        """An outbox that dies as soon as it runs."""

        def wake(self) -> None:
            pass

        async def run(self) -> None:
            raise RuntimeError("a bug")

        async def drain_once(self) -> None:
            raise RuntimeError("a bug")

    async def story(bench: Bench) -> tuple[BatchFinished, list[Any]]:
        said: list[Any] = []
        line = bench.plant.line(bench.parties(), emit=said.append)
        return await Floor(line, [bench.slot()], lambda _: Buggy(), Voice()).run(Batch()), said  # type: ignore[arg-type, return-value]

    finished, said = play(tmp_path, story)
    assert [each.code for each in said if isinstance(each, LineStopped)] == ["internal"]
    assert len([each for each in said if isinstance(each, UnitFinished)]) == len(
        [each for each in said if isinstance(each, AttemptBegan)]
    )
    assert said[-1] == finished
    assert finished.exit_code == 6


def test_the_batch_ends_active_in_the_cloud(tmp_path: Path):
    async def story(bench: Bench) -> None:
        await bench.parties().jobs.keep_order(bench.plant.order)  # type: ignore[attr-defined]
        said: list[Any] = []
        finished = await floor_of(bench, [bench.slot()], said).run(Batch())
        assert (finished.passed, finished.outbox, finished.exit_code) == (1, 0, 0)
        assert await pins(bench) == "active"

    play(tmp_path, story)


def test_a_slot_left_without_power_by_a_station_that_died_gets_it_back(tmp_path: Path):
    async def story(bench: Bench) -> None:
        slot = bench.slot()
        slot._device.power_off()
        assert (await bench.insert(slot)).verdict is Verdict.PASS

    play(tmp_path, story)
