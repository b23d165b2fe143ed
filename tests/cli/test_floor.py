"""The floor as its screens see it: suspect slots, waiting slots, held units, a ledger that dies. In-process parts."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fixtures.device import Device
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot
from fixtures.slot import Restarted, SlotConfig
from station.cloud import CloudUnreachableError
from station.events import AnyEvent, AttemptBegan, BatchFinished, LineStopped, SlotSuspect, UnitFinished, Verdict
from station.exits import Exit
from station.floor import Floor
from station.jobs import LedgerError
from station.line import Line
from station.port import Batch
from station.suspicion import UNITS, Suspicion
from station.voice import Voice
from station.wiring import outbox_maker
from tests.flow.plant import Parties, Plant
from trust.identity import DeviceId

BAD = Faults(generation_fails=True)


class Nest:
    """A slot whose unit is taken out and replaced by the next one as soon as it has its verdict; the last one stays."""

    def __init__(self, name: str, units: Sequence[MemorySlot]) -> None:
        self.units = units
        self.at = 0
        self._name = name

    @property
    def unit(self) -> MemorySlot:
        return self.units[self.at]

    @property
    def config(self) -> SlotConfig:
        return dataclasses.replace(self.unit.config, name=self._name)

    async def open(self) -> Device:
        return await self.unit.open()

    async def cycle(self, device: Device) -> Restarted:
        return await self.unit.cycle(device)

    def swap(self) -> None:
        self.at = min(self.at + 1, len(self.units) - 1)


class Jig:
    """A plant, nests and what was said."""

    def __init__(self, directory: Path) -> None:
        self.plant = Plant.make(directory)
        self.told: list[AnyEvent] = []
        self.nests: dict[str, Nest] = {}
        self.ids: dict[str, DeviceId] = {}

    def nest(self, name: str, *faults: Faults | None) -> None:
        units = []
        for number, each in enumerate(faults):
            unit = f"{name}-{number}"
            self.ids[unit] = self.plant.new_device(unit)
            units.append(self.plant.slot(unit, each))
        self.nests[name] = Nest(name, units)

    def _hear(self, event: AnyEvent) -> None:
        self.told.append(event)
        if isinstance(event, UnitFinished):
            self.nests[event.slot].swap()

    def run(
        self, batch: Batch, *, parties: Callable[[Parties], Parties] = lambda same: same, meanwhile=None
    ) -> BatchFinished:
        async def story() -> BatchFinished:
            mine = self.plant.parties()
            await mine.jobs.keep_order(self.plant.order)
            voice = Voice()
            line = self.plant.line(parties(mine), emit=lambda event: (self._hear(event), voice.say(event)))
            floor = Floor(line, list(self.nests.values()), outbox_maker(line, mine.jobs, self.plant.stamp()), voice)
            helper = asyncio.create_task(meanwhile(line)) if meanwhile else None
            try:
                async with asyncio.timeout(15):
                    return await floor.run(batch)
            finally:
                if helper is not None:
                    helper.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await helper
                await mine.jobs.close()
                self.plant.close()

        return asyncio.run(story())

    def of(self, kind: type[AnyEvent], slot: str = "") -> list:
        return [event for event in self.told if isinstance(event, kind) and (not slot or event.slot == slot)]


@pytest.fixture
def jig(tmp_path: Path) -> Jig:
    return Jig(tmp_path)


def test_a_slot_that_fails_three_units_is_not_served_any_more_and_the_others_go_on(jig: Jig) -> None:
    jig.nest("bad", BAD, BAD, BAD, BAD)
    jig.nest("good", None, None, None)
    finished = jig.run(Batch(count=6, retries=0))
    (suspect,) = jig.of(SlotSuspect)
    assert (suspect.slot, suspect.count) == ("bad", UNITS)
    assert "Check this slot" in suspect.remedy
    assert [unit.verdict for unit in jig.of(UnitFinished, "bad")] == [Verdict.FAIL] * UNITS
    assert [unit.verdict for unit in jig.of(UnitFinished, "good")] == [Verdict.PASS] * 3
    assert (finished.failed, finished.passed, finished.exit_code) == (3, 3, Exit.UNIT_FAILED)
    assert str(jig.ids["bad-3"]) not in {unit.device_id for unit in jig.of(UnitFinished)}


def test_when_every_slot_is_suspect_the_batch_ends(jig: Jig) -> None:
    jig.nest("bad", BAD, BAD, BAD, BAD)
    finished = jig.run(Batch(count=100, retries=0))
    assert (finished.failed, finished.passed, len(jig.of(SlotSuspect))) == (3, 0, 1)


def verdict(device: str, result: Verdict = Verdict.FAIL, code: str = "no-answer") -> UnitFinished:
    return UnitFinished(at="", slot="s", verdict=result, order="o", device_id=device, code=code)


GOOD = verdict("x", Verdict.PASS, "")


@pytest.mark.parametrize(
    ("row", "suspect"),
    [
        ("a b c", True),
        ("a b", False),
        ("a a a a", False),
        ("a b a b", False),
        ("a b a c", True),
        ("- - -", True),
        ("a b + c", False),
        ("a b + c d e", True),
        ("a b w c", False),
        ("a b q c", False),
        ("a b h c", False),
    ],
)
def test_suspicion(row: str, suspect: bool) -> None:
    """Letters are units that fail; + passes, w is another product, q is quarantined, h held, - says nothing."""
    special = {
        "+": GOOD, "w": verdict("w", code="wrong-product"), "q": verdict("q", Verdict.QUARANTINE),
        "h": verdict("h", Verdict.HELD), "-": verdict(""),
    }  # fmt: skip
    suspicion = Suspicion("s")
    raised = [suspicion.raised_by(special.get(each, verdict(each))) is not None for each in row.split()]
    assert raised == [False] * (len(raised) - 1) + [suspect]


def test_a_slot_that_waits_does_not_keep_the_batch_from_its_end(jig: Jig) -> None:
    """The unit in `idle` stays in; the other slot brings the rest."""
    jig.nest("idle", None)
    jig.nest("busy", None, None, None)
    finished = jig.run(Batch(count=3, retries=0))
    assert finished.passed == 3
    assert sorted(event.slot for event in jig.of(AttemptBegan)) == ["busy", "busy", "idle"]


def test_a_port_that_is_gone_is_one_failure_and_the_slot_waits_for_it(jig: Jig) -> None:
    jig.nest("slot", None)
    unit = jig.nests["slot"].unit
    unit.unplug()

    async def plug_in(line: Line) -> None:
        await asyncio.sleep(0.7)
        unit.plug()

    began = time.monotonic()
    finished = jig.run(Batch(count=2, retries=0), meanwhile=plug_in)
    assert [event.code for event in jig.of(UnitFinished)] == ["port-missing", ""]
    assert (finished.failed, finished.passed) == (1, 1)
    assert time.monotonic() - began > 0.7


class Without:
    """A party of which one verb fails."""

    def __init__(self, party: object, error: Exception, *verbs: str) -> None:
        self._party, self._error, self._verbs = party, error, verbs

    def __getattr__(self, name: str) -> object:
        if name not in self._verbs:
            return getattr(self._party, name)

        async def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


def test_held_units_are_to_be_finished_and_quarantined_ones_are_not(jig: Jig) -> None:
    jig.nest("far", None)

    def no_wan(parties: Parties) -> Parties:
        cloud = Without(parties.cloud, CloudUnreachableError("no WAN"), "pin", "complete", "history")
        return Parties(parties.signer, cloud, parties.jobs)  # type: ignore[arg-type]

    finished = jig.run(Batch(retries=0), parties=no_wan)
    assert (finished.held, finished.outbox, finished.exit_code) == (1, 1, Exit.HELD)
    assert finished.finish_me == (str(jig.ids["far-0"]),)

    jig.nests.clear()
    jig.nest("torn", Faults(anchor_corrupts=True))
    finished = jig.run(Batch(retries=0))
    assert (finished.quarantined, finished.outbox) == (1, 0), "its pin is in the registry, and it is not finished"
    assert finished.finish_me == (str(jig.ids["far-0"]),), "the held one still, the quarantined one not"

    jig.nests = {"far": Nest("far", [jig.plant.slot("far-0")])}
    finished = jig.run(Batch(retries=0))
    assert (finished.passed, finished.finish_me) == (1, ())


def test_a_ledger_that_dies_stops_the_line_and_says_so(jig: Jig) -> None:
    jig.nest("one", BAD, BAD)
    jig.nest("two", BAD, BAD)

    def full(parties: Parties) -> Parties:
        jobs = Without(parties.jobs, LedgerError("disk full"), "note", "pending", "waiting")
        return Parties(parties.signer, parties.cloud, jobs)  # type: ignore[arg-type]

    finished = jig.run(Batch(count=4, retries=2), parties=full)
    (stop,) = jig.of(LineStopped)
    assert (stop.code, stop.exit_code) == ("ledger-failed", Exit.LINE_STOPPED)
    assert (finished.outbox, finished.finish_me, finished.exit_code) == (None, (), Exit.LINE_STOPPED)
    assert len(jig.of(AttemptBegan)) == 2, "no unit is begun again on a line that stands"


def test_whoever_listens_hears_everything_from_then_on() -> None:
    async def story() -> list[str]:
        voice = Voice()
        voice.say(AttemptBegan(at="", slot="before"))
        heard = voice.listen()
        voice.say(AttemptBegan(at="", slot="after"))
        voice.end()
        return [event.slot async for event in heard]

    assert asyncio.run(story()) == ["after"]
