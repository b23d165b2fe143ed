"""The outbox by the batch: many go in one request, and no record that the registry cannot take is in others' way.

Negative control: an outbox whose batches never get shorter is blocked by one record for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from station import sending
from station.cloud import CloudRefusedError, CloudUnreachableError, Sent
from station.jobs import RecordKind
from station.outbox import Drained, Outbox
from tests.registry.make import World, world
from tests.station import ledgerkit as kit
from tests.station.test_outbox import FakeTime, SimulatedRegistry
from trust.codes import Code
from trust.dsse import Envelope

UNITS = 23


@dataclass
class ManyRegistry(SimulatedRegistry):
    """A registry that takes batches; `breaks` says whether this statement ends the whole request without an answer."""

    requests: list[int] = field(default_factory=list)
    breaks: Callable[[Envelope], bool] = lambda _: False
    refuses: Code | None = None
    limited_s: float = 0.0

    async def pin(self, device, statement, order):  # type: ignore[no-untyped-def]
        self.requests.append(1)
        if self.breaks(statement):
            raise CloudUnreachableError("the server died of it")
        return await super().pin(device, statement, order)

    async def batch(self, sent: Sequence[Sent]) -> list[Envelope | CloudRefusedError | CloudUnreachableError]:
        self.requests.append(len(sent))
        if self.limited_s:
            raise CloudUnreachableError("asked too often", after_s=self.limited_s)
        if self.refuses is not None:
            raise CloudRefusedError(self.refuses, "for a test")
        if any(self.breaks(each.statement) for each in sent):
            raise CloudUnreachableError("the server died of it")
        return [self._one(each.statement) for each in sent]

    def _one(self, statement: Envelope) -> Envelope | CloudRefusedError | CloudUnreachableError:
        try:
            return self._put(statement)
        except (CloudRefusedError, CloudUnreachableError) as error:
            return error


@dataclass
class Bench:
    store: kit.JobStore  # type: ignore[name-defined]
    registry: ManyRegistry
    outbox: Outbox
    time: FakeTime
    pins: list[Envelope]
    told: dict[str, str]

    async def drained(self, passes: int = 60) -> int:
        """Passes that it took until only what is broken waits."""
        for number in range(1, passes + 1):
            await self.outbox._drain(patient=True)
            left = [item.envelope for item in await self.store.pending()]
            if all(self.registry.breaks(each) for each in left):
                return number
            self.time.now += 61.0
        raise AssertionError(f"{len(left)} statements still wait")


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, made: World) -> tuple[Path, list[Envelope]]:
    """A ledger with pins that wait, made once."""
    path, pins = tmp_path_factory.mktemp("outbox") / "station.db", list[Envelope]()

    async def fill() -> None:
        store = kit.store_at(path, made)
        await store.keep_order(made.order_envelope)
        for _ in range(UNITS):
            pins.append((await kit.bring_to(store, made, RecordKind.PIN)).steps[RecordKind.PIN])
        await store.close()

    kit.run(fill())
    return path, pins


Work = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def at_bench(tmp_path: Path, filled: tuple[Path, list[Envelope]], made: World) -> Callable[[Work], None]:
    path, pins = filled
    (tmp_path / "station.db").write_bytes(path.read_bytes())

    def do(work: Work) -> None:
        async def both() -> None:
            store, registry, time = kit.store_at(tmp_path / "station.db", made), ManyRegistry(made), FakeTime()
            told: dict[str, str] = {}
            outbox = Outbox(
                store, registry, root=made.trusted, stamp=kit.stamp(made), stop_line=lambda _: None, pace=time.pace(),
                objected=told.__setitem__,
            )  # fmt: skip
            try:
                await asyncio.wait_for(work(Bench(store, registry, outbox, time, pins, told)), 15)
            finally:
                await store.close()

        kit.run(both())

    return do


AtBench = Callable[[Work], None]
PLACES = {"in front": 0, "in the middle": UNITS // 2, "at the end": UNITS - 1}


def test_many_that_wait_go_in_one_request(at_bench: AtBench) -> None:
    async def work(here: Bench) -> None:
        assert await here.outbox.drain_once() == Drained(delivered=UNITS, refused=0, waiting=0)
        assert here.registry.requests == [UNITS]

    at_bench(work)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("code", [Code.STATEMENT_INVALID, Code.ORDER_EXHAUSTED, Code.MALFORMED])
def test_a_record_that_is_refused_is_told_by_name_and_blocks_nobody(at_bench: AtBench, code: Code, place: int) -> None:
    async def work(here: Bench) -> None:
        poison = here.pins[place]

        def trouble(statement: Envelope) -> None:
            if statement == poison:
                raise CloudRefusedError(code, "for a test")

        here.registry.trouble = trouble
        assert await here.outbox.drain_once() == Drained(delivered=UNITS - 1, refused=0, waiting=1, objected=1)
        assert here.told == {poison.payload_sha256: f"{code.value}: for a test"}
        assert [item.envelope for item in await here.store.pending()] == [poison], "it waits for somebody who looks"

    at_bench(work)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_record_that_the_registry_dies_of_blocks_nobody(at_bench: AtBench, place: int) -> None:
    async def work(here: Bench) -> None:
        here.registry.breaks = lambda statement: statement == here.pins[place]
        assert await here.drained() <= 8
        assert [item.envelope for item in await here.store.pending()] == [here.pins[place]]
        here.registry.requests.clear()
        here.time.now += 61.0
        await here.outbox._drain(patient=True)
        assert here.registry.requests == [1], "it goes by itself now"
        here.registry.breaks = lambda _: False
        here.time.now += 61.0
        assert (await here.outbox._drain(patient=True)).delivered == 1, "and it goes for ever"

    at_bench(work)


def test_many_such_records_block_nobody(at_bench: AtBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.outbox._PAGE", 5)

    async def work(here: Bench) -> None:
        broken = {each.payload_sha256 for each in here.pins[:11]}  # two whole pages, and more
        here.registry.breaks = lambda statement: statement.payload_sha256 in broken
        await here.drained()
        assert {item.envelope.payload_sha256 for item in await here.store.pending()} == broken

    at_bench(work)


def test_a_registry_that_is_asked_too_often_is_left_alone_as_long_as_it_says(at_bench: AtBench) -> None:
    """A 429 says nothing of a statement: none goes by itself for it, and nothing is asked before its time."""

    async def work(here: Bench) -> None:
        here.outbox._pace = replace(here.outbox._pace, uniform=lambda: 0.0)  # so that nothing else makes it wait
        here.registry.limited_s = 20.0
        for expected in ([UNITS], [UNITS], [UNITS, 20]):
            await here.outbox._drain(patient=True)
            assert here.registry.requests == expected
            here.time.now += 11.0
        here.registry.limited_s = 0.0
        here.time.now += 11.0
        assert (await here.outbox._drain(patient=True)).delivered == UNITS

    at_bench(work)


def test_nobody_makes_a_statement_wait_longer_than_the_cap(at_bench: AtBench) -> None:
    async def work(here: Bench) -> None:
        here.registry.limited_s = 86_400.0
        await here.outbox._drain(patient=True)
        here.registry.limited_s = 0.0
        here.time.now += here.outbox._pace.cap_s
        assert (await here.outbox._drain(patient=True)).delivered == UNITS

    at_bench(work)


def test_control_batches_that_never_get_shorter_are_blocked_by_one(
    at_bench: AtBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(here: Bench) -> None:
        here.registry.breaks = lambda statement: statement == here.pins[UNITS // 2]
        plain = sending.Sender.send

        async def stubborn(sender, items):  # type: ignore[no-untyped-def]
            found = await plain(sender, items)
            sender._most = sending.MOST
            return found

        monkeypatch.setattr(sending.Sender, "send", stubborn)
        with pytest.raises(AssertionError, match="still wait"):
            await here.drained(passes=20)

    at_bench(work)


def test_a_registry_that_is_away_is_asked_less_and_less_and_the_outbox_goes_when_it_is_back(at_bench: AtBench) -> None:
    async def work(here: Bench) -> None:
        here.registry.breaks = lambda _: True
        for _ in range(40):
            await here.outbox._drain(patient=True)
            here.time.now += 1.0
        assert len(here.registry.requests) < 40, "left alone for a while, and longer each time"
        assert await here.store.waiting() == UNITS
        here.registry.breaks = lambda _: False
        here.registry.requests.clear()
        here.time.now += 61.0
        assert (await here.outbox._drain(patient=True)).waiting == 0
        assert max(here.registry.requests) > sending.AT_ONCE, "by the batch again, more at a time"

    at_bench(work)


def test_an_older_registry_without_batches_gets_them_one_by_one(at_bench: AtBench) -> None:
    async def work(here: Bench) -> None:
        here.registry.refuses = Code.NOT_FOUND
        assert (await here.outbox.drain_once()).waiting == 0
        assert here.registry.requests == [UNITS] + [1] * UNITS

    at_bench(work)


def test_an_answer_that_was_lost_costs_nothing(at_bench: AtBench) -> None:
    """The registry has stored all of them: the same statements again get the same receipts."""

    async def work(here: Bench) -> None:
        plain = here.registry.batch

        async def lost(sent: Sequence[Sent]):  # type: ignore[no-untyped-def]
            await plain(sent)
            raise CloudUnreachableError("the answer is lost")

        here.registry.batch = lost  # type: ignore[method-assign]
        assert (await here.outbox._drain(patient=True)).waiting == UNITS
        here.registry.batch = plain  # type: ignore[method-assign]
        here.time.now += 61.0
        assert (await here.outbox._drain(patient=True)).waiting == 0
        assert len(here.registry.receipts) == UNITS

    at_bench(work)


def test_what_does_not_fit_into_one_request_goes_in_more(at_bench: AtBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_BYTES", 40_000)

    async def work(here: Bench) -> None:
        assert (await here.outbox.drain_once()).waiting == 0
        assert len(here.registry.requests) > 1 and sum(here.registry.requests) == UNITS

    at_bench(work)
