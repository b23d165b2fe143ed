"""The outbox against a registry that may be away, refuse, lie or lose its answers; real store, real signatures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord
from station.faults import Fault
from station.jobs import LedgerError, RecordKind
from station.jobs.store import JobStore
from station.outbox import Drained, Outbox
from station.pace import Pace
from station.refusals import refusal_problem
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId


class FakeTime:
    """A clock that only sleeping moves; `slept` is every wait that was asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def pace(self, **changes: float) -> Pace:
        return Pace(monotonic=self.monotonic, sleep=self.sleep, uniform=lambda: 1.0, **changes)  # type: ignore[arg-type]


@dataclass
class SimulatedRegistry:
    """A registry as the station sees it, to edit: `trouble` is asked before each PUT, `after` once it is applied."""

    made: World
    receipts: dict[str, Envelope] = field(default_factory=dict)
    pins: dict[DeviceId, tuple[Envelope, Envelope]] = field(default_factory=dict)
    seen: list[Envelope] = field(default_factory=list)
    trouble: Callable[[Envelope], None] = lambda _: None
    after: Callable[[Envelope], None] = lambda _: None
    doctor: Callable[[Envelope], Envelope | None] = lambda receipt: receipt

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        assert order == self.made.order_envelope
        receipt = self._put(statement)
        self.pins[device] = (statement, receipt)
        return PinRecord(state="provisional", statement=statement, receipt=self.doctor(receipt) or receipt)

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        statement, receipt = self.pins[device]
        active = self.doctor(self._put(completion))
        return PinRecord(
            state="active", statement=statement, receipt=receipt, completion=completion, completion_receipt=active
        )

    async def history(self, device: DeviceId) -> PinRecord | None:
        raise AssertionError("the outbox sends; it does not ask")

    def _put(self, statement: Envelope) -> Envelope:
        self.seen.append(statement)
        self.trouble(statement)
        receipt = self.receipts.setdefault(statement.payload_sha256, kit.receipt_for(self.made, statement))
        self.after(statement)
        return receipt


@dataclass
class Bench:
    store: JobStore
    registry: SimulatedRegistry
    outbox: Outbox
    time: FakeTime
    stops: list[Fault]


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@asynccontextmanager
async def bench(path: Path, made: World, *, keep_order: bool = True) -> AsyncIterator[Bench]:
    store, registry, time, stops = kit.store_at(path, made), SimulatedRegistry(made), FakeTime(), list[Fault]()
    if keep_order:
        await store.keep_order(made.order_envelope)

    outbox = Outbox(
        store,
        registry,
        root=made.trusted,
        stamp=kit.stamp(made),
        stop_line=stops.append,
        pace=time.pace(),
    )
    yield Bench(store, registry, outbox, time, stops)
    await store.close()


Work = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def at_bench(tmp_path: Path, made: World) -> Callable[[Work], None]:
    def do(work: Work) -> None:
        async def both() -> None:
            async with bench(tmp_path / "station.db", made) as here:
                await asyncio.wait_for(work(here), 15)

        kit.run(both())

    return do


AtBench = Callable[[Work], None]


def refuse(code: Code, stored: PinRecord | None = None) -> Callable[[Envelope], None]:
    def trouble(_: Envelope) -> None:
        raise CloudRefusedError(code, "for a test", stored)

    return trouble


def record_of(made: World, device: Device, *, station: str = "station-02", finished: bool = False) -> PinRecord:
    """What the registry holds about a device that another station brought there."""
    steps = kit.papers(made, device, station).steps
    record = PinRecord(state="provisional", statement=steps[RecordKind.PIN], receipt=steps[RecordKind.PIN_RECEIPT])
    if not finished:
        return record
    return replace(
        record, state="active", completion=steps[RecordKind.COMPLETION],
        completion_receipt=steps[RecordKind.COMPLETION_RECEIPT],
    )  # fmt: skip


RIVALS: dict[Code, Callable[[Device], Device]] = {
    Code.DEVICE_HAS_OTHER_KEY: lambda unit: Device(device_id=unit.device_id),
    Code.KEY_ON_OTHER_DEVICE: lambda unit: Device(key=unit.key),
    Code.PINNED_UNDER_OTHER_JOB: lambda unit: Device(key=unit.key, device_id=unit.device_id),
    Code.JOB_BYTES_DIFFER: lambda unit: unit,
}


def away(_: Envelope) -> None:
    raise CloudUnreachableError("for a test")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(10_000):
        if await condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


async def emptied(store: JobStore) -> bool:
    return await store.pending() == ()


def test_what_is_pending_is_delivered_and_recorded(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        signed = await kit.bring_to(here.store, made, RecordKind.PIN)
        finished = await kit.bring_to(here.store, made, RecordKind.COMPLETION)
        here.registry.pins[finished.device.device_id] = (finished.steps[RecordKind.PIN], signed.steps[RecordKind.PIN])
        assert await here.outbox.drain_once() == Drained(delivered=2, refused=0, waiting=0)
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=0)
        assert RecordKind.PIN_RECEIPT in await kit.records(here.store, signed.device)
        assert RecordKind.COMPLETION_RECEIPT in await kit.records(here.store, finished.device)
        assert len(here.registry.seen) == 2

    at_bench(work)


def test_an_answer_lost_after_the_commit_is_asked_for_again(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.after = away
        assert (await here.outbox.drain_once()).waiting == 1
        here.registry.after = lambda _: None
        assert (await here.outbox.drain_once()).delivered == 1
        assert here.registry.seen == [unit.steps[RecordKind.PIN]] * 2  # the same bytes, the same receipt
        recorded = await kit.records(here.store, unit.device)
        assert recorded[RecordKind.PIN_RECEIPT] == here.registry.receipts[unit.steps[RecordKind.PIN].payload_sha256]

    at_bench(work)


@pytest.mark.parametrize("trouble", ["refused", "no answer", "receipt by another key", "no receipt", "bad receipt"])
def test_no_record_blocks_the_others(at_bench: AtBench, made: World, trouble: str) -> None:
    async def work(here: Bench) -> None:
        units = [await kit.bring_to(here.store, made, RecordKind.PIN) for _ in range(4)]
        poison = units[0].steps[RecordKind.PIN]

        def hurt(statement: Envelope) -> None:
            if statement == poison and trouble in {"refused", "no answer"}:
                away(statement) if trouble == "no answer" else refuse(Code.STORE_FAILED)(statement)

        def doctor(receipt: Envelope) -> Envelope | None:
            if here.registry.seen[-1] != poison:
                return receipt
            stranger = world()
            return {
                "receipt by another key": kit.receipt_for(stranger, poison, root_sha256=made.trusted.sha256),
                "bad receipt": kit.receipt_for(made, poison, fingerprint="00" * 32),
                "no receipt": poison,
            }.get(trouble, receipt)

        here.registry.trouble, here.registry.doctor = hurt, doctor
        objected = int(trouble != "no answer")
        assert await here.outbox.drain_once() == Drained(delivered=3, refused=0, waiting=1, objected=objected)
        (left,) = await here.store.pending()
        assert left.envelope == poison
        assert RecordKind.PIN_RECEIPT not in await kit.records(here.store, units[0].device)

    at_bench(work)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (Code.STORE_FAILED, "store-failed: "),
        (Code.DEVICE_HAS_OTHER_KEY, "device-has-other-key, which is not believed: "),
    ],
)
def test_what_the_registry_objects_to_is_told_by_the_statement(
    at_bench: AtBench, made: World, code: Code, told: str
) -> None:
    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.trouble = refuse(code)
        heard: list[tuple[str, str]] = []
        here.outbox._objected = lambda *said: heard.append(said)
        assert (await here.outbox.drain_once()).objected == 1
        ((statement, why),) = heard
        assert statement == unit.steps[RecordKind.PIN].payload_sha256
        assert why.startswith(told)
        here.registry.trouble = lambda _: None
        assert (await here.outbox.drain_once()).delivered == 1
        assert len(heard) == 1

    at_bench(work)


def test_a_completion_without_a_receipt_stays(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.COMPLETION)
        here.registry.pins[unit.device.device_id] = (unit.steps[RecordKind.PIN], unit.steps[RecordKind.PIN_RECEIPT])
        here.registry.doctor = lambda _: None
        assert (await here.outbox.drain_once()).waiting == 1
        here.registry.doctor = lambda receipt: receipt
        assert (await here.outbox.drain_once()).delivered == 1

    at_bench(work)


@pytest.mark.parametrize("code", RIVALS)
def test_a_pin_refused_for_good_is_booked_as_a_loss(at_bench: AtBench, made: World, code: Code) -> None:
    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.trouble = refuse(code, record_of(made, RIVALS[code](unit.device)))
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=1, waiting=0)
        recorded = await kit.records(here.store, unit.device)
        assert RecordKind.PIN_RECEIPT not in recorded
        assert f'"code":"{code.value}"'.encode() in recorded[RecordKind.PIN_REFUSED].payload
        assert (await here.store.tally("order-7")).refused == 1
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=0)
        wanted = ["key-duplicate"] if code is Code.KEY_ON_OTHER_DEVICE else []
        assert [stop.code for stop in here.stops] == wanted, "repeating keys are not this unit's affair alone"

    at_bench(work)


@pytest.mark.parametrize("code", RIVALS)
@pytest.mark.parametrize("shown", ["nothing", "another unit's record", "its own statement", "a record nobody signed"])
def test_a_refusal_for_good_that_proves_nothing_is_not_believed(
    at_bench: AtBench, made: World, code: Code, shown: str
) -> None:
    """Nothing is lost on a bare word: the statement stays, is told of, and goes when the registry takes it."""

    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        true = record_of(made, RIVALS[code](unit.device))
        bare = Envelope(true.statement.payload, true.statement.payload_type)
        own = unit.steps[RecordKind.PIN]
        lies = {
            "nothing": None,
            "another unit's record": record_of(made, Device()),
            "its own statement": replace(true, statement=own, receipt=kit.receipt_for(made, own)),
            "a record nobody signed": replace(true, statement=bare),
        }
        here.registry.trouble = refuse(code, lies[shown])
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=1, objected=1)
        assert RecordKind.PIN_REFUSED not in await kit.records(here.store, unit.device)
        assert here.stops == []
        here.registry.trouble = lambda _: None
        assert (await here.outbox.drain_once()).delivered == 1

    at_bench(work)


def test_a_code_that_the_record_does_not_bear_out_is_not_believed(at_bench: AtBench, made: World) -> None:
    """Each code with each other's proof: only its own counts."""

    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        records = {code: record_of(made, rival(unit.device)) for code, rival in RIVALS.items()}
        for said in RIVALS:
            for proved, record in records.items():
                error = CloudRefusedError(said, "for a test", record)
                wrong = refusal_problem(made.trusted, unit.steps[RecordKind.PIN], error)
                assert (wrong is None) == (said is proved), (said, proved, wrong)

    at_bench(work)


@pytest.mark.parametrize(
    "code",
    [Code.NOT_AUTHORISED, Code.WRONG_ROOT, Code.STATEMENT_INVALID, Code.STORE_FAILED, Code.INTERNAL, Code.NOT_FOUND],
)
def test_any_other_refusal_waits_for_somebody_to_mend_it(at_bench: AtBench, made: World, code: Code) -> None:
    async def work(here: Bench) -> None:
        await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.trouble = refuse(code)
        assert (await here.outbox.drain_once()).waiting == 1
        here.registry.trouble = lambda _: None
        assert (await here.outbox.drain_once()).delivered == 1

    at_bench(work)


def test_a_completion_refused_for_good_is_on_record_and_is_no_loss(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.COMPLETION)
        here.registry.pins[unit.device.device_id] = (unit.steps[RecordKind.PIN], unit.steps[RecordKind.PIN_RECEIPT])
        theirs = record_of(made, unit.device, finished=True)
        ours = replace(theirs, statement=unit.steps[RecordKind.PIN], receipt=unit.steps[RecordKind.PIN_RECEIPT])
        other = made.completion(unit.device, ours.statement, ours.receipt)
        ours = replace(ours, completion=other, completion_receipt=kit.receipt_for(made, other))
        here.registry.trouble = refuse(Code.JOB_BYTES_DIFFER, ours)
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=1, waiting=0)
        assert (
            b"job-bytes-differ" in (await kit.records(here.store, unit.device))[RecordKind.COMPLETION_REFUSED].payload
        )
        tally = await here.store.tally("order-7")
        assert (tally.passed, tally.not_taken, tally.refused) == (1, 1, 0)
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=0)

    at_bench(work)


@pytest.mark.parametrize("shown", ["nothing", "provisional", "its own completion", "closes another pin"])
def test_a_completion_whose_refusal_proves_nothing_stays(at_bench: AtBench, made: World, shown: str) -> None:
    """One false *no* must not leave a passed unit provisional for ever."""

    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.COMPLETION)
        steps = unit.steps
        here.registry.pins[unit.device.device_id] = (steps[RecordKind.PIN], steps[RecordKind.PIN_RECEIPT])
        provisional = PinRecord(
            state="provisional", statement=steps[RecordKind.PIN], receipt=steps[RecordKind.PIN_RECEIPT]
        )
        own = replace(
            provisional, state="active", completion=steps[RecordKind.COMPLETION],
            completion_receipt=steps[RecordKind.COMPLETION_RECEIPT],
        )  # fmt: skip
        lies = {
            "nothing": None,
            "provisional": provisional,
            "its own completion": own,
            "closes another pin": record_of(made, unit.device, finished=True),
        }
        for code in (Code.JOB_BYTES_DIFFER, Code.KEY_ON_OTHER_DEVICE, Code.DEVICE_HAS_OTHER_KEY):
            here.registry.trouble = refuse(code, lies[shown])
            assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=1, objected=1)
        here.registry.trouble = lambda _: None
        assert (await here.outbox.drain_once()).delivered == 1

    at_bench(work)


def test_the_flow_was_faster(at_bench: AtBench, made: World) -> None:
    """The flow sends its own pin: both get the same receipt, whoever records it first."""

    async def work(here: Bench) -> None:
        unit = await kit.bring_to(here.store, made, RecordKind.PIN)
        record = here.store.record

        def flow_records(statement: Envelope) -> None:
            receipt = here.registry.receipts[statement.payload_sha256]
            flow.append(asyncio.ensure_future(record(unit.device.job, RecordKind.PIN_RECEIPT, receipt)))

        flow: list[asyncio.Future[None]] = []
        here.registry.after = flow_records
        assert (await here.outbox.drain_once()).delivered == 1
        await asyncio.gather(*flow)

    at_bench(work)


def test_an_order_that_is_unknown_waits(tmp_path: Path, made: World) -> None:
    async def work() -> None:
        async with bench(tmp_path / "station.db", made, keep_order=False) as here:
            await kit.bring_to(here.store, made, RecordKind.PIN)
            assert (await here.outbox.drain_once()).waiting == 1
            assert here.registry.seen == []
            await here.store.keep_order(made.order_envelope)
            assert (await here.outbox.drain_once()).delivered == 1

    kit.run(work())


def test_a_registry_that_is_away_is_left_alone(at_bench: AtBench, made: World) -> None:
    """Three statements without any answer: the rest of the outbox is not tried, however long it is."""

    async def work(here: Bench) -> None:
        for _ in range(10):
            await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.trouble = away
        assert await here.outbox.drain_once() == Drained(delivered=0, refused=0, waiting=10)
        assert len(here.registry.seen) == 4

    at_bench(work)


async def running(here: Bench, condition: Callable[[], Awaitable[bool]]) -> None:
    sending = asyncio.create_task(here.outbox.run())
    try:
        await until(condition)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def test_it_goes_on_for_ever_and_ever_slower(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        await kit.bring_to(here.store, made, RecordKind.PIN)
        here.registry.trouble = away

        async def tried_often() -> bool:
            return len(here.registry.seen) >= 20

        await running(here, tried_often)
        waits = [wait for wait in here.time.slept if wait > 0]
        assert waits[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60])
        assert set(waits[8:]) == {60.0}
        here.registry.trouble = lambda _: None
        here.outbox.wake()
        await running(here, lambda: emptied(here.store))

    at_bench(work)


def test_after_an_outage_everything_is_delivered_once(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        units = [await kit.bring_to(here.store, made, RecordKind.PIN) for _ in range(25)]
        outage_ends = here.time.now + 300

        def trouble(statement: Envelope) -> None:
            if here.time.now < outage_ends:
                away(statement)

        here.registry.trouble = trouble
        await running(here, lambda: emptied(here.store))
        assert len(here.registry.receipts) == len(units)
        assert (await here.store.tally("order-7")).pinned == len(units)
        assert here.time.now < outage_ends + 121  # one wait for the registry, one for the statement

    at_bench(work)


def test_one_poisoned_statement_does_not_slow_the_rest(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        poison = await kit.bring_to(here.store, made, RecordKind.PIN)

        def poisoned(statement: Envelope) -> None:
            if statement == poison.steps[RecordKind.PIN]:
                raise CloudRefusedError(Code.INTERNAL, "for a test")

        here.registry.trouble = poisoned
        sending = asyncio.create_task(here.outbox.run())

        async def only_poison() -> bool:
            return [item.job.job_id for item in await here.store.pending()] == [poison.device.job]

        for _ in range(10):
            await kit.bring_to(here.store, made, RecordKind.PIN)
            here.outbox.wake()
            await until(only_poison)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    at_bench(work)


def test_a_wake_is_heard_at_once(tmp_path: Path, made: World) -> None:
    """With real time and nothing pending it sleeps for a minute: a wake must not wait for that."""

    async def work() -> None:
        async with bench(tmp_path / "station.db", made) as here:
            here.outbox._pace = Pace()
            sending = asyncio.create_task(here.outbox.run())
            await asyncio.sleep(0.05)
            await kit.bring_to(here.store, made, RecordKind.PIN)
            here.outbox.wake()
            await asyncio.wait_for(until(lambda: emptied(here.store)), 5)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    kit.run(work())


def test_a_broken_ledger_ends_it_and_is_told(at_bench: AtBench, made: World) -> None:
    async def work(here: Bench) -> None:
        await kit.bring_to(here.store, made, RecordKind.PIN)

        async def full(*_: object) -> None:
            raise LedgerError("the disk is full")

        here.store.record = full  # type: ignore[method-assign]
        await asyncio.wait_for(here.outbox.run(), 5)
        assert [(stop.code, stop.detail) for stop in here.stops] == [("ledger-failed", "the disk is full")]
        with pytest.raises(LedgerError):
            await here.outbox.drain_once()

    at_bench(work)


def test_waits_are_drawn_from_the_whole() -> None:
    for drawn in (0.0, 0.5, 0.999):
        pace = Pace(uniform=lambda drawn=drawn: drawn)  # type: ignore[misc]
        for failures in (1, 2, 7, 8, 1000):
            whole = min(60.0, 0.5 * 2 ** min(failures - 1, 30))
            assert pace.wait_s(failures) == pytest.approx(whole * drawn)
            assert pace.wait_s(failures) <= 60.0
