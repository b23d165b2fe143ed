"""JobStore against the Jobs protocol, on a real file: what a restart finds, what is refused, what commits together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from station.audit import audit
from station.jobs import DuplicateKeyError, Job, Jobs, RecordConflictError, RecordKind
from station.jobs.counts import Tally
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, signed, world
from tests.station import ledgerkit as kit
from trust.identity import JobId
from trust.statement import Possession, envelope

ORDER = "order-7"


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "station.db"


def through(path: Path, made: World, *steps: Callable[[JobStore], Awaitable[None]]) -> None:
    """Run each step on a store of its own, as after a restart."""

    async def one(step: Callable[[JobStore], Awaitable[None]]) -> None:
        store = kit.store_at(path, made)
        try:
            await step(store)
        finally:
            await store.close()

    for step in steps:
        kit.run(one(step))


def counts(path: Path) -> dict[str, int]:
    return {table: kit.rows(path, f'SELECT count(*) FROM "{table}"')[0][0] for table in kit.tables(path)}


def test_it_is_a_jobs(path: Path, made: World) -> None:
    store = kit.store_at(path, made)
    jobs: Jobs = store
    assert jobs is store
    kit.run(store.close())


def test_a_job_is_for_life(path: Path, made: World) -> None:
    device = Device().device_id
    first: list[Job] = []

    async def begin(store: JobStore) -> None:
        first.append(await kit.opened(store, device, ORDER))
        assert await kit.opened(store, device, ORDER) == first[0]

    async def again(store: JobStore) -> None:
        assert await kit.opened(store, device, ORDER) == first[0]
        other = await kit.opened(store, device, "order-8")
        assert other.job_id != first[0].job_id
        found = await store.of_device(device)
        assert [(each.job, each.attempts, dict(each.records)) for each in found] == [(first[0], 3, {}), (other, 1, {})]
        assert await store.of_device(Device().device_id) == ()

    through(path, made, begin, again)
    assert (counts(path)["jobs"], counts(path)["events"], counts(path)["leaves"]) == (2, 4, 6)


def test_an_adopted_job_keeps_its_id(path: Path, made: World) -> None:
    device, job = Device().device_id, JobId.new()

    async def work(store: JobStore) -> None:
        adopted = await kit.opened(store, device, ORDER, job)
        assert (adopted.job_id, adopted.adopted) == (job, True)
        assert await kit.opened(store, device, ORDER) == adopted
        assert await kit.opened(store, device, ORDER, job) == adopted
        with pytest.raises(RecordConflictError, match=str(job)):
            await kit.opened(store, device, ORDER, JobId.new())
        with pytest.raises(RecordConflictError, match="another device or order"):
            await kit.opened(store, Device().device_id, ORDER, job)

    through(path, made, work)
    assert counts(path)["jobs"] == 1


def test_the_whole_way_survives_a_restart_after_each_step(path: Path, made: World) -> None:
    device = Device()
    unit: list[kit.Papers] = []

    async def begin(store: JobStore) -> None:
        unit.append(kit.papers(made, await kit.open_as(store, made, device)))

    through(path, made, begin)
    done: dict[RecordKind, object] = {}
    for kind, statement in unit[0].steps.items():
        job = unit[0].device.job

        async def step(store: JobStore, kind: RecordKind = kind, job: JobId = job) -> None:
            await store.record(job, kind, unit[0].steps[kind])
            await store.record(job, kind, unit[0].steps[kind])

        done[kind] = statement

        async def look(store: JobStore) -> None:
            assert await kit.records(store, unit[0].device) == done

        through(path, made, step, look)
    filled = counts(path)
    assert (filled["records"], filled["outbox"], filled["deliveries"], filled["leaves"]) == (6, 2, 2, 8)


def test_other_bytes_are_refused_and_change_nothing(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.COMPLETION_RECEIPT)
        before = counts(path)
        for kind in unit.steps:
            other = kit.papers(made, unit.device).steps[kind]
            assert other != unit.steps[kind]
            with pytest.raises(RecordConflictError):
                await store.record(unit.device.job, kind, other)
        assert counts(path) == before
        assert await kit.records(store, unit.device) == unit.steps

    through(path, made, work)


def test_no_step_before_its_turn(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        kinds = list(kit.papers(made, Device()).steps)
        for place, kind in enumerate(kinds[1:], start=1):
            unit = kit.papers(made, await kit.open_as(store, made, Device()))
            for earlier in kinds[: place - 1]:
                await store.record(unit.device.job, earlier, unit.steps[earlier])
            with pytest.raises(RecordConflictError, match=f"{kind.value} before {kinds[place - 1].value}"):
                await store.record(unit.device.job, kind, unit.steps[kind])

    through(path, made, work)


def test_refused_and_received_exclude_each_other(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        for sent, received, refused in [
            (RecordKind.PIN, RecordKind.PIN_RECEIPT, RecordKind.PIN_REFUSED),
            (RecordKind.COMPLETION, RecordKind.COMPLETION_RECEIPT, RecordKind.COMPLETION_REFUSED),
        ]:
            for first, then in [(refused, received), (received, refused)]:
                unit = await kit.bring_to(store, made, sent)
                job = await kit.job_of(store, unit.device)
                answers = {**unit.steps, refused: kit.refusal(made, job, refused)}
                await store.record(job.job_id, first, answers[first])
                with pytest.raises(RecordConflictError, match="does not change"):
                    await store.record(job.job_id, then, answers[then])
        assert await store.pending() == ()

    through(path, made, work)


def test_a_statement_is_its_intent_and_names_what_is_on_record(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.INTENT)
        with pytest.raises(RecordConflictError, match="does not belong to the intent"):
            await store.record(unit.device.job, RecordKind.PIN, made.pin(unit.device))
        await store.record(unit.device.job, RecordKind.PIN, unit.steps[RecordKind.PIN])
        strange = kit.receipt_for(made, unit.steps[RecordKind.PIN], statement_sha256="00" * 32)
        with pytest.raises(RecordConflictError, match="does not belong to the pin"):
            await store.record(unit.device.job, RecordKind.PIN_RECEIPT, strange)

    through(path, made, work)


@pytest.mark.parametrize(("field", "value"), [("job", "11" * 16), ("device_id", "11" * 12), ("order_id", "order-9")])
def test_a_record_is_of_its_job(path: Path, made: World, field: str, value: str) -> None:
    async def work(store: JobStore) -> None:
        device = await kit.open_as(store, made, Device())
        foreign = envelope(made.pin_statement(device, **{field: value}))
        with pytest.raises(RecordConflictError, match="the job is for"):
            await store.record(device.job, RecordKind.INTENT, foreign)

    through(path, made, work)


def test_what_is_not_a_record_is_refused(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        device = await kit.open_as(store, made, Device())
        pin = made.pin(device)
        for kind, bytes_ in [
            (RecordKind.INTENT, pin),
            (RecordKind.PIN, kit.unsigned(pin)),
            (RecordKind.PIN, made.order_envelope),
            (RecordKind.PIN, msgspec.structs.replace(pin, payload_type="application/x-other")),
            (RecordKind.PIN, msgspec.structs.replace(pin, payload=pin.payload + b" ")),
        ]:
            with pytest.raises(RecordConflictError):
                await store.record(device.job, kind, bytes_)
        with pytest.raises(RecordConflictError, match="open it first"):
            await store.record(JobId.new(), RecordKind.INTENT, kit.unsigned(pin))
        wrong_key = envelope(made.pin_statement(device, fingerprint="00" * 32))
        with pytest.raises(RecordConflictError, match="fingerprint"):
            await store.record(device.job, RecordKind.INTENT, wrong_key)

    through(path, made, work)
    assert (counts(path)["leaves"], counts(path)["records"]) == (2, 0)


def test_a_key_of_another_job_is_named(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.INTENT)
        before = counts(path)
        clone = await kit.open_as(store, made, Device(first.device.key))
        with pytest.raises(DuplicateKeyError, match="key is on record") as caught:
            await store.record(clone.job, RecordKind.INTENT, envelope(made.pin_statement(clone)))
        assert caught.value.job == first.device.job
        assert counts(path)["records"] == before["records"]
        assert counts(path)["leaves"] == before["leaves"] + 2  # the clone's job and attempt alone

    through(path, made, work)


def test_an_rsa_modulus_of_another_job_is_named(path: Path, made: World) -> None:
    from tests.registry.make import rsa_key

    async def work(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.INTENT, Device(rsa_key()))
        assert kit.rows(path, "SELECT length(modulus) FROM keys") == [(256,)]
        clone = await kit.open_as(store, made, Device(rsa_key()))
        with pytest.raises(DuplicateKeyError) as caught:
            await store.record(clone.job, RecordKind.INTENT, envelope(made.pin_statement(clone)))
        assert caught.value.job == first.device.job

    through(path, made, work)


def test_an_ecdsa_r_of_another_job_is_named(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.INTENT)
        stolen = made.pin_statement(first.device).possession
        on_record = kit.read(first.steps[RecordKind.INTENT], kit.PinStatement).possession
        second = await kit.open_as(store, made, Device())
        fresh = made.pin_statement(second)
        mixed = Possession(
            challenge=fresh.possession.challenge,
            context="pin",
            signatures=(fresh.possession.signatures[0], on_record.signatures[1]),
        )
        assert stolen != on_record
        with pytest.raises(DuplicateKeyError, match="ECDSA r") as caught:
            await store.record(second.job, RecordKind.INTENT, envelope(made.pin_statement(second, possession=mixed)))
        assert caught.value.job == first.device.job

    through(path, made, work)
    assert counts(path)["signature_r"] == 2


def test_an_ecdsa_r_in_a_completion_counts_too(path: Path, made: World) -> None:
    """Two units that sign their closing reports with one nonce: both keys are known to whoever reads the log."""

    async def work(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.COMPLETION_INTENT)
        second = await kit.bring_to(store, made, RecordKind.PIN_RECEIPT)
        on_record = kit.read(first.steps[RecordKind.COMPLETION_INTENT], kit.Completion)
        fresh = made.completion(second.device, second.steps[RecordKind.PIN], second.steps[RecordKind.PIN_RECEIPT])
        theirs = kit.read(fresh, kit.Completion)
        mixed = msgspec.structs.replace(
            theirs, closing=msgspec.structs.replace(theirs.closing, signature=on_record.closing.signature)
        )
        with pytest.raises(DuplicateKeyError, match="ECDSA r") as caught:
            await store.record(second.device.job, RecordKind.COMPLETION_INTENT, envelope(mixed))
        assert caught.value.job == first.device.job

    through(path, made, work)
    assert counts(path)["signature_r"] == 2 + 3 + 2


def test_a_deterministic_signer_is_no_duplicate(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        device = await kit.open_as(store, made, Device())
        once = device.possession("pin")
        twice = Possession(challenge=once.challenge, context="pin", signatures=(once.signatures[0],) * 2)
        await store.record(device.job, RecordKind.INTENT, envelope(made.pin_statement(device, possession=twice)))

    through(path, made, work)
    assert counts(path)["signature_r"] == 1


def test_the_outbox_is_oldest_first_and_closes_by_answer(path: Path, made: World) -> None:
    units: list[kit.Papers] = []

    async def fill(store: JobStore) -> None:
        units.extend([await kit.bring_to(store, made, RecordKind.PIN) for _ in range(4)])
        assert [item.job.job_id for item in await store.pending()] == [unit.device.job for unit in units]

    async def answer(store: JobStore) -> None:
        for unit in (units[1], units[0]):
            await store.record(unit.device.job, RecordKind.PIN_RECEIPT, unit.steps[RecordKind.PIN_RECEIPT])
        left = await store.pending()
        assert [item.envelope for item in left] == [unit.steps[RecordKind.PIN] for unit in units[2:]]
        for kind in (RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION):
            await store.record(units[0].device.job, kind, units[0].steps[kind])
        assert [item.kind for item in await store.pending()] == [RecordKind.PIN] * 2 + [RecordKind.COMPLETION]
        refused = await kit.job_of(store, units[2].device)
        await store.record(refused.job_id, RecordKind.PIN_REFUSED, kit.refusal(made, refused))
        await store.record(units[3].device.job, RecordKind.PIN_RECEIPT, units[3].steps[RecordKind.PIN_RECEIPT])
        last = units[0].steps[RecordKind.COMPLETION_RECEIPT]
        await store.record(units[0].device.job, RecordKind.COMPLETION_RECEIPT, last)
        assert await store.pending() == ()
        units.append(await kit.bring_to(store, made, RecordKind.PIN))
        assert [item.job.job_id for item in await store.pending()] == [units[4].device.job]

    through(path, made, fill, answer)


def test_a_unit_that_another_station_finished_counts_as_passed(path: Path, made: World) -> None:
    """Begun and intended here, completed there: the other station's completion is this ledger's too."""

    async def work(store: JobStore) -> None:
        await store.keep_order(made.order_envelope)
        for last in (RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_INTENT):
            unit = await kit.bring_to(store, made, last)
            pin, receipt = unit.steps[RecordKind.PIN], unit.steps[RecordKind.PIN_RECEIPT]
            own = made.completion(unit.device, pin, receipt)
            assert own != unit.steps[RecordKind.COMPLETION]
            with pytest.raises(
                RecordConflictError, match="completion-intent"
            ):  # our own may not differ, nor come early
                await store.record(unit.device.job, RecordKind.COMPLETION, own)
            theirs = made.completion(unit.device, pin, receipt, station="station-02")
            await store.record(unit.device.job, RecordKind.COMPLETION, theirs)
            await store.record(unit.device.job, RecordKind.COMPLETION_RECEIPT, kit.receipt_for(made, theirs))
        assert await store.unfinished(ORDER) == ()
        assert await store.tally(ORDER) == Tally(active=2)

    through(path, made, work)
    engine = open_database(path, read_only=True)
    findings = [str(each) for each in audit(engine, made.trusted, kit.STATION).findings]
    assert [each for each in findings if "checkpoint" not in each] == []
    engine.dispose()


def test_unfinished_and_tally(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        for kind in RecordKind:
            if kind not in {RecordKind.PIN_REFUSED, RecordKind.COMPLETION_REFUSED, RecordKind.HANDSHAKE_REPORT}:
                await kit.bring_to(store, made, kind)
        await kit.opened(store, Device().device_id, ORDER)
        lost = await kit.bring_to(store, made, RecordKind.PIN)
        job = await kit.job_of(store, lost.device)
        await store.record(job.job_id, RecordKind.PIN_REFUSED, kit.refusal(made, job))
        passed = await kit.bring_to(store, made, RecordKind.COMPLETION)
        job = await kit.job_of(store, passed.device)
        told = kit.refusal(made, job, RecordKind.COMPLETION_REFUSED)
        await store.record(job.job_id, RecordKind.COMPLETION_REFUSED, told)
        tally = await store.tally(ORDER)
        assert tally == Tally(opened=1, intended=1, signed=1, refused=1, pinned=2, completed=1, active=1, not_taken=1)
        assert (tally.jobs, tally.signed_for, tally.passed) == (9, 7, 3)
        assert job.job_id not in {item.job.job_id for item in await store.pending()}, "it has its answer"
        assert len(await store.unfinished(ORDER)) == 3  # signed, receipted, completion intended
        assert await store.unfinished("order-8") == ()
        assert await store.tally("order-8") == Tally()

    through(path, made, work)


def test_attempts_and_verdicts(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        job = await kit.opened(store, Device().device_id, ORDER)
        for attempt in (1, 2):
            await store.note(kit.happened(made, "verdict", job, attempt, verdict="FAIL", nr=str(attempt)))
            begun = await store.begin(job.device_id, ORDER, slot="1")
            assert (begun.job, begun.attempts) == (job, attempt + 1)
        assert [event.details["nr"] for event in await store.verdicts(ORDER)] == ["1", "2"]
        passed = await kit.bring_to(store, made, RecordKind.COMPLETION)
        done = await kit.job_of(store, passed.device)
        await store.note(kit.happened(made, "verdict", done, 1, verdict="FAIL"))
        assert {event.job for event in await store.verdicts(ORDER)} == {str(job.job_id)}

    through(path, made, work)


def test_an_event_is_once_a_job_attempt_and_kind(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        job = await kit.opened(store, Device().device_id, ORDER)
        event = kit.happened(made, "verdict", job, 1)
        await store.note(event)
        await store.note(event)
        with pytest.raises(RecordConflictError):
            await store.note(msgspec.structs.replace(event, details={"slot": "2"}))
        for reserved in ("job", "pin-refused", "completion-refused"):
            with pytest.raises(RecordConflictError, match="use another"):
                await store.note(kit.happened(made, reserved, job, 1))
        loose = kit.stamp(made).event("station-started")
        await store.note(loose)
        await store.note(loose)

    through(path, made, work)
    assert counts(path)["events"] == 3


def test_an_order_is_kept_once(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        assert await store.order(ORDER) is None
        await store.keep_order(made.order_envelope)
        await store.keep_order(made.order_envelope)
        assert await store.order(ORDER) == made.order_envelope
        with pytest.raises(RecordConflictError):
            await store.keep_order(made.with_order(quantity=7).order_envelope)
        with pytest.raises(RecordConflictError, match="not a work order"):
            await store.keep_order(made.pin(Device()))

    through(path, made, work)


def test_thirty_two_slots_at_once(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        units = await asyncio.gather(*(kit.bring_to(store, made, RecordKind.PIN_RECEIPT) for _ in range(32)))
        assert len({unit.device.job for unit in units}) == 32
        assert (await store.tip()).size == 32 * 5
        assert await store.pending() == ()

    through(path, made, work)


def test_the_same_device_in_two_slots_gets_one_job(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        device = Device().device_id
        opened = await asyncio.gather(*(kit.opened(store, device, ORDER) for _ in range(8)))
        assert len(set(opened)) == 1

    through(path, made, work)
    assert counts(path)["jobs"] == 1


def test_two_processes_on_one_file_agree(path: Path, made: World) -> None:
    """Two stores on one file stand for two processes: locks and constraints are the database's, not the object's."""

    async def work(one: JobStore) -> None:
        other = kit.store_at(path, made)
        device = Device().device_id
        try:
            opened = await asyncio.gather(*(kit.opened(store, device, ORDER) for store in (one, other) * 8))
            assert len(set(opened)) == 1
            units = await asyncio.gather(*(kit.bring_to(store, made, RecordKind.PIN) for store in (one, other) * 8))
            assert len(await one.pending()) == len(await other.pending()) == len(units) == 16
        finally:
            await other.close()

    through(path, made, work)


def test_a_commit_does_not_slow_down_with_the_log(path: Path, made: World) -> None:
    """Not a benchmark: refuses work per append that grows with the log (a scan of it takes many times as long)."""

    async def timed(store: JobStore) -> float:
        unit = kit.papers(made, await kit.open_as(store, made, Device()))
        seconds = []
        for kind in (RecordKind.INTENT, RecordKind.PIN, RecordKind.PIN_RECEIPT):
            began = time.perf_counter()
            await store.record(unit.device.job, kind, unit.steps[kind])
            await store.pending()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    async def work(store: JobStore) -> None:
        job = await kit.opened(store, Device().device_id, ORDER)
        early = [await timed(store) for _ in range(5)]
        for batch in range(40):
            events = [kit.happened(made, f"kind-{batch}-{each}", job, 1) for each in range(64)]
            await asyncio.gather(*(store.note(event) for event in events))
        late = [await timed(store) for _ in range(5)]
        assert min(late) < 5 * min(early)

    through(path, made, work)


def test_a_caller_that_goes_away_harms_no_neighbour(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        opening = [asyncio.create_task(kit.opened(store, Device().device_id, ORDER)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in opening[::2]:
            task.cancel()
        answers = await asyncio.wait_for(asyncio.gather(*opening, return_exceptions=True), 10)
        assert [isinstance(each, Job) for each in answers] == [False, True] * 10
        for job in answers[1::2]:
            assert isinstance(job, Job)
            assert [each.job for each in await store.of_device(job.device_id)] == [job]

    through(path, made, work)


def test_a_refused_neighbour_leaves_nothing_and_harms_nobody(path: Path, made: World) -> None:
    async def work(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.INTENT)
        clones = [await kit.open_as(store, made, Device(first.device.key)) for _ in range(5)]
        others = [await kit.open_as(store, made, Device()) for _ in range(5)]
        both = [each for pair in zip(clones, others, strict=True) for each in pair]
        intents = [store.record(each.job, RecordKind.INTENT, envelope(made.pin_statement(each))) for each in both]
        answers = await asyncio.gather(*intents, return_exceptions=True)
        assert [isinstance(each, DuplicateKeyError) for each in answers] == [True, False] * 5
        assert answers[1::2] == [None] * 5

    through(path, made, work)
    assert counts(path)["records"] == counts(path)["keys"] == 6


def test_a_signature_by_nobody_is_not_the_stores_to_judge(path: Path, made: World) -> None:
    """The store keeps what the signer gave; the audit names it. Kept here so that nobody relies on the store for it."""

    async def work(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.INTENT)
        statement = made.pin_statement(unit.device)
        forged = signed(statement, Device().key)
        with pytest.raises(RecordConflictError, match="other bytes"):
            await store.record(unit.device.job, RecordKind.PIN, forged)
        intent = kit.read(unit.steps[RecordKind.INTENT], kit.PinStatement)
        await store.record(unit.device.job, RecordKind.PIN, signed(intent, Device().key))

    through(path, made, work)
