"""State 10's live handshake: in-process devices over TCP meet the device service, each side by its own code, or do not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.device import Device
from fixtures.families.smp.emulated.faults import Strike, Trouble, Verb
from station import handshaking
from station.carrying import Carrying
from station.cloud import CloudUnreachableError, DeviceServiceAwayError, DeviceServiceUnableError
from station.events import HandshakeWent, UnitFinished, Verdict
from station.jobs import LedgerError, RecordKind
from station.relay import Bounds, Carried
from tests.flow import handshake_causes as meet
from tests.flow.bench import Bench, WrappedSlot
from tests.flow.books import drain, on_record, play, report, store
from tests.flow.relaying import LocalRelay, NoRelay, ShakyRelay
from trust.dsse import Envelope
from trust.handshake import HandshakeReport, reported
from trust.identity import DeviceId
from trust.statement import Completion, read

LOST = CloudUnreachableError("the answer was lost")
AWAY = DeviceServiceAwayError("it does not answer")


def relay(bench: Bench, station: str = "st-01") -> LocalRelay:
    found = bench.parties(station).relay
    assert isinstance(found, LocalRelay)
    return found


def went(bench: Bench) -> list[tuple[str, str]]:
    events = [event for event in bench.plant.events if isinstance(event, HandshakeWent)]
    return [(event.outcome, event.waiver) for event in events]


async def records(bench: Bench, station: str = "st-01") -> dict[RecordKind, Envelope]:
    (found,) = await store(bench, station).of_device(DeviceId(bench.flash().device_id))
    return dict(found.records)


async def claimed(bench: Bench, station: str = "st-01") -> tuple[str, bool, str]:
    found = read((await records(bench, station))[RecordKind.COMPLETION], Completion).verification
    return found.handshake, found.handshake_report is not None, found.handshake_waiver


async def insert(bench: Bench, **changes: Any) -> UnitFinished:
    return await bench.insert(meet.slot(bench), **changes)


@dataclass(slots=True)
class FullAt:
    """A ledger that does not take one kind of record."""

    jobs: Any
    kind: RecordKind

    async def record(self, job: Any, kind: RecordKind, envelope: Envelope) -> None:
        if kind is self.kind:
            raise LedgerError("disk full")
        await self.jobs.record(job, kind, envelope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jobs, name)


def test_unit_and_cloud_meet_and_all_books_have_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        done = await insert(bench)
        assert (done.verdict, done.handshake) == (Verdict.PASS, "proved")
        found = await records(bench)
        envelope = found[RecordKind.HANDSHAKE_REPORT]
        assert read(found[RecordKind.COMPLETION], Completion).verification.handshake_report == envelope
        told = reported(bench.plant.root, envelope)
        assert (told.station, told.job, told.protocol, told.path) == ("st-01", done.job, "tcp", "relay")
        first, *_, event = [each for each in bench.plant.events if isinstance(each, HandshakeWent)]
        assert (first.outcome, first.exchanges) == ("", 0), "before anything that may hang"
        assert (event.outcome, event.to_unit > 550, event.from_unit > 256) == ("proved", True, True)
        assert event.unit_seconds > 0 < event.cloud_seconds
        assert len(relay(bench).desk) == 0
        await drain(bench)
        told_ = await report(bench)
        assert (told_.passed, told_.proved, told_.waived) == (1, 1, {})

    play(tmp_path, story, **meet.ORDER)


def test_what_has_passed_meets_nobody_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await insert(bench)).verdict is Verdict.PASS
        again = await insert(bench)
        assert (again.verdict, again.already, relay(bench).opened) == (Verdict.PASS, True, 1)
        bench.change(relay=NoRelay())
        again = await insert(bench)
        assert (again.verdict, again.handshake) == (Verdict.PASS, "proved")

    play(tmp_path, story, **meet.ORDER)


@pytest.mark.parametrize("kind", [RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION])
def test_a_report_on_record_is_taken_up(tmp_path: Path, kind: RecordKind) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().jobs
        bench.change(jobs=FullAt(steady, kind))
        assert (await insert(bench)).code == "ledger-failed"
        bench.change(jobs=steady)
        assert RecordKind.HANDSHAKE_REPORT in await on_record(bench)
        done = await insert(bench)
        assert (done.verdict, done.handshake) == (Verdict.PASS, "proved")
        assert relay(bench).opened == 1
        assert await claimed(bench) == ("proved", True, "")

    play(tmp_path, story, **meet.ORDER)


def test_a_report_on_record_that_does_not_hold_is_not_taken_up(tmp_path: Path) -> None:
    """Its place in the ledger stays its own; the new one is in the completion."""

    async def story(bench: Bench) -> None:
        steady = bench.parties()
        bench.change(
            relay=bench.plant.relay(report_label="receipt"), jobs=FullAt(steady.jobs, RecordKind.COMPLETION_INTENT)
        )
        with mock.patch.object(handshaking, "_wrong", return_value=None):
            assert (await insert(bench)).code == "ledger-failed"
        bench.change(relay=steady.relay, jobs=steady.jobs)
        assert (await insert(bench)).verdict is Verdict.PASS
        found = await records(bench)
        done = read(found[RecordKind.COMPLETION], Completion).verification.handshake_report
        assert done is not None
        assert not found[RecordKind.HANDSHAKE_REPORT].same_statement(done)
        assert reported(bench.plant.root, done)
        assert relay(bench).opened == 1

    play(tmp_path, story, **meet.ORDER)


def test_without_the_judge_the_signer_refuses_a_report_of_another_key(tmp_path: Path) -> None:
    """Control: the flow's own judge taken away, nothing passes all the same."""

    async def story(bench: Bench) -> None:
        bench.change(relay=bench.plant.relay(report_label="receipt"))
        with mock.patch.object(handshaking, "_wrong", return_value=None):
            assert (await insert(bench)).code == "handshake-not-proved"

    play(tmp_path, story, **meet.ORDER)


def test_a_service_that_is_away_holds_the_unit(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().relay
        bench.change(relay=NoRelay())
        held = await insert(bench)
        assert (held.verdict, held.code, held.handshake) == (Verdict.HELD, "device-service-away", "")
        assert went(bench) == [("", "")], "told before the service was asked"
        assert (await report(bench)).held == 1
        bench.change(relay=steady)
        assert (await insert(bench)).verdict is Verdict.PASS
        assert (await report(bench)).passed == 1

    play(tmp_path, story, **meet.ORDER)


@pytest.mark.parametrize("midway", [False, True])
def test_a_service_that_is_away_is_waived_where_the_order_says_so(tmp_path: Path, midway: bool) -> None:
    async def story(bench: Bench) -> None:
        steady = relay(bench)
        bench.change(relay=GoneAfter(steady, 1) if midway else NoRelay())
        done = await insert(bench)
        assert (done.verdict, done.handshake) == (Verdict.PASS, "waived")
        assert await claimed(bench) == ("waived", False, "service-away")
        assert went(bench)[-1] == ("waived", "service-away")
        told = await report(bench)
        assert (told.passed, told.proved, told.waived) == (1, 0, {done.device_id: "service-away"})
        bench.change(relay=steady)
        again = await insert(bench)
        assert (again.already, again.handshake) == (True, "waived"), "its record stays what it is"
        assert (await report(bench)).waived == told.waived

    play(tmp_path, story, handshake_waivers=("service-away",), **meet.ORDER)


@pytest.mark.parametrize("kind", [RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION])
def test_after_a_crash_a_unit_says_what_its_record_says(tmp_path: Path, kind: RecordKind) -> None:
    """What was intended as waived stays so; with nothing on record yet the service, back again, proves it."""

    async def story(bench: Bench) -> None:
        steady = bench.parties()
        bench.change(relay=NoRelay(), jobs=FullAt(steady.jobs, kind))
        assert (await insert(bench)).code == "ledger-failed"
        bench.change(relay=steady.relay, jobs=steady.jobs)
        done = await insert(bench)
        expected = "waived" if kind is RecordKind.COMPLETION else "proved"
        assert (done.verdict, done.already, done.handshake) == (Verdict.PASS, False, expected)
        assert (await claimed(bench))[0] == expected

    play(tmp_path, story, handshake_waivers=("service-away",), **meet.ORDER)


@dataclass(slots=True)
class GoneAfter:
    """A device service that ends after so many requests, and comes back `for_s` later, if it does."""

    relay: Any
    answers: int
    for_s: float = 1e9
    asked: int = 0
    gone_at: float = 0.0

    async def open(self, *words: Any) -> Carried:
        self._answering()
        return await self.relay.open(*words)

    async def step(self, *words: Any, ended: bool = False) -> Carried:
        self._answering()
        return await self.relay.step(*words, ended=ended)

    def _answering(self) -> None:
        self.asked += 1
        if self.asked <= self.answers:
            return
        self.gone_at = self.gone_at or time.monotonic()
        if time.monotonic() < self.gone_at + self.for_s:
            raise AWAY


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_a_service_that_is_started_anew_waives_and_holds_nothing(tmp_path: Path, answers: int) -> None:
    async def story(bench: Bench) -> None:
        bench.change(relay=GoneAfter(relay(bench), answers, for_s=0.3))
        assert (await insert(bench, bounds=Bounds(away_s=5.0))).verdict is Verdict.PASS
        assert (await claimed(bench))[0] == "proved"

    play(tmp_path, story, handshake_waivers=("service-away",), **meet.ORDER)


def test_an_order_that_asks_for_none_is_not_told_as_met(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await bench.insert()).handshake == "not-asked"
        told = await report(bench)
        assert (told.proved, told.waived, told.not_asked) == (0, {}, 1)

    play(tmp_path, story)


def test_a_service_that_is_there_and_unable_is_never_waived(tmp_path: Path) -> None:
    """Whoever keeps it busy, or takes its signer away, must not turn handshakes into waivers."""

    async def story(bench: Bench) -> None:
        real, unable = relay(bench), DeviceServiceUnableError("its signer does not sign")
        for shaky in (NoRelay(unable), ShakyRelay(real, dict.fromkeys(range(1, 99), unable))):
            bench.change(relay=shaky)
            held = await insert(bench)
            assert (held.verdict, held.code) == (Verdict.HELD, "device-service-away")
        bench.change(relay=real)
        assert (await insert(bench)).verdict is Verdict.PASS
        assert (await claimed(bench))[0] == "proved"

    play(tmp_path, story, handshake_waivers=("service-away", "no-tunnel"), **meet.ORDER)


def test_a_registry_that_is_away_is_never_waived(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.change(relay=NoRelay(LOST))
        held = await insert(bench)
        assert (held.verdict, held.code) == (Verdict.HELD, "registry-unreachable")

    play(tmp_path, story, handshake_waivers=("service-away", "no-tunnel"), **meet.ORDER)


@dataclass(slots=True)
class Tunnelless:
    """A device of a family that cannot tunnel."""

    device: Device
    tunnels: frozenset[Any] = frozenset()

    def __getattr__(self, name: str) -> Any:
        assert not name.startswith("tunnel"), "nobody asks it to tunnel"
        return getattr(self.device, name)


@pytest.mark.parametrize(
    ("waivers", "verdict", "code"),
    [(("no-tunnel",), Verdict.PASS, ""), (("service-away",), Verdict.QUARANTINE, "unit-no-tunnel")],
)
def test_a_family_that_cannot_tunnel(tmp_path: Path, waivers: tuple[str, ...], verdict: Verdict, code: str) -> None:
    async def story(bench: Bench) -> None:
        found = await bench.insert(WrappedSlot(meet.slot(bench), wrap=Tunnelless))
        assert (found.verdict, found.code) == (verdict, code)
        assert relay(bench).opened == 0
        if verdict is Verdict.PASS:
            assert await claimed(bench) == ("waived", False, "no-tunnel")

    play(tmp_path, story, handshake_waivers=waivers, **meet.ORDER)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_a_step_without_an_answer_begins_both_ends_anew(tmp_path: Path, step: int, after: bool) -> None:
    async def story(bench: Bench) -> None:
        real = relay(bench)
        bench.change(relay=ShakyRelay(real, {step: LOST}, after=after))
        assert (await insert(bench)).verdict is Verdict.PASS
        assert (real.opened, len(real.desk)) == (2, 0)

    play(tmp_path, story, **meet.ORDER)


def test_a_registry_that_stays_away_midway_holds_the_unit(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        real = relay(bench)
        bench.change(relay=ShakyRelay(real, dict.fromkeys(range(2, 99), LOST)))
        held = await insert(bench)
        assert (held.verdict, held.code, real.opened) == (Verdict.HELD, "registry-unreachable", 2)
        bench.change(relay=real)
        assert (await insert(bench)).verdict is Verdict.PASS
        assert len(real.desk) == 0

    play(tmp_path, story, **meet.ORDER)


@dataclass(slots=True)
class SlowRelay:
    """A registry that takes its time, `step_s` for a step, and loses the first step's answer at the end of it.

    Then it is gone, or back.
    """

    relay: Any
    step_s: float
    back: bool
    loses: bool = True
    lost: bool = False

    async def open(self, *words: Any) -> Carried:
        if self.lost and not self.back:
            await asyncio.sleep(self.step_s)
            raise LOST
        return await self.relay.open(*words)

    async def step(self, handshake: str, received: Any, *, ended: bool = False) -> Carried:
        if self.loses and not self.lost:
            self.lost = True
            await asyncio.sleep(self.step_s)
            raise LOST
        if not self.loses:
            await asyncio.sleep(self.step_s)
        return await self.relay.step(handshake, received, ended=ended)


@pytest.mark.parametrize("back", [False, True])
def test_an_answer_that_is_lost_late_is_no_silence_of_the_unit(tmp_path: Path, back: bool) -> None:
    """The registry's own time-out is longer than the silence that is allowed."""

    async def story(bench: Bench) -> None:
        real = relay(bench)
        bench.change(relay=SlowRelay(real, 0.6, back))
        found = await insert(bench, bounds=Bounds(silence_s=0.4, whole_s=30.0))
        assert (found.verdict, found.code) == ((Verdict.PASS, "") if back else (Verdict.HELD, "registry-unreachable"))

    play(tmp_path, story, **meet.ORDER)


def test_a_registry_that_is_too_slow_holds_the_unit_and_a_unit_that_is_has_failed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bounds = Bounds(silence_s=0.4, whole_s=0.5)
        real = relay(bench)
        bench.change(relay=SlowRelay(real, 0.6, True, loses=False))
        held = await insert(bench, bounds=bounds)
        assert (held.verdict, held.code) == (Verdict.HELD, "registry-unreachable")
        bench.change(relay=meet.Mute())
        failed = await insert(bench, bounds=bounds)
        assert (failed.verdict, failed.code) == (Verdict.FAIL, "handshake-timed-out")

    play(tmp_path, story, **meet.ORDER)


def test_who_is_told_to_wait_twice_is_not_silent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        real = relay(bench)
        wait = CloudUnreachableError("too many", after_s=0.4)
        bench.change(relay=ShakyRelay(real, {1: wait, 2: wait}))
        found = await insert(bench, bounds=Bounds(silence_s=0.5, whole_s=30.0))
        assert (found.verdict, real.opened) == (Verdict.PASS, 1)

    play(tmp_path, story, **meet.ORDER)


def test_who_is_told_to_wait_asks_the_same_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        real = relay(bench)
        bench.change(relay=ShakyRelay(real, {1: CloudUnreachableError("too many", after_s=0.05)}))
        assert (await insert(bench)).verdict is Verdict.PASS
        assert real.opened == 1

    play(tmp_path, story, **meet.ORDER)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_an_answer_of_the_unit_that_is_lost_begins_both_ends_anew(tmp_path: Path, skip: int) -> None:
    async def story(bench: Bench) -> None:
        strike = Strike(Verb.TUNNEL, Trouble.ANSWER_LOST, skip=skip)
        assert (await bench.insert(meet.slot(bench, strikes=(strike,)))).verdict is Verdict.PASS
        begun = 2 if skip else 1  # the unit's end is opened first
        assert (relay(bench).opened, len(relay(bench).desk)) == (begun, 0)

    play(tmp_path, story, **meet.ORDER)


def test_both_ends_are_closed_however_it_ends(tmp_path: Path) -> None:
    """Control: a station that does not close leaves the service's end open."""

    async def story(bench: Bench) -> None:
        says = meet.unit_says(meet.TunnelFault.OWN)
        assert (await says(bench)).code == "handshake-unit-failed"
        assert len(relay(bench).desk) == 0
        with mock.patch.object(Carrying, "_close", new=mock.AsyncMock()):
            assert (await says(bench)).code == "handshake-unit-failed"
        assert len(relay(bench).desk) == 1

    play(tmp_path, story, **meet.ORDER)


def test_the_station_that_finishes_a_unit_has_carried_for_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.change(relay=NoRelay())
        assert (await insert(bench)).verdict is Verdict.HELD
        done = await bench.insert(meet.slot(bench), "st-02")
        assert done.verdict is Verdict.PASS
        found = read((await records(bench, "st-02"))[RecordKind.HANDSHAKE_REPORT], HandshakeReport)
        assert (found.station, found.job) == ("st-02", done.job)
        await report(bench, "st-02")

    play(tmp_path, story, stations=("st-01", "st-02"), quantity=8, allowance=2, **meet.ORDER)


def test_an_order_that_asks_for_none_gets_none(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await insert(bench)).verdict is Verdict.PASS
        assert (await claimed(bench), relay(bench).opened, went(bench)) == (("not-asked", False, ""), 0, [])

    play(tmp_path, story, handshakes=(), **meet.ORDER)
