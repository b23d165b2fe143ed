"""What is said of one job: the furthest record decides, then the last verdict that counts; and what a report counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from station.audit import audit
from station.fault_table import TABLE
from station.job_state import JobState, job_state
from station.jobs import RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.order_report import order_reports
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.statement import PinStatement, read


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture
def in_store(tmp_path: Path, made: World) -> Callable[[Callable[[JobStore], Awaitable[None]]], None]:
    def play(story: Callable[[JobStore], Awaitable[None]]) -> None:
        async def run() -> None:
            store = kit.store_at(tmp_path / "station.db", made)
            try:
                await store.keep_order(made.order_envelope)
                await story(store)
            finally:
                await store.close()

        asyncio.run(run())

    return play


async def state_of(store: JobStore, device: Device) -> JobState:
    (known,) = await store.of_device(device.device_id)
    return await job_state(store, known)


@pytest.mark.parametrize(
    ("last", "state", "text"),
    [
        (RecordKind.INTENT, "in work", "insert it again"),
        (RecordKind.PIN, "held", "insert it again"),
        (RecordKind.PIN_RECEIPT, "held", "insert it again"),
        (RecordKind.COMPLETION_INTENT, "held", "insert it again"),
        (RecordKind.COMPLETION, "passed", "safe at the station; the registry has not acknowledged"),
        (RecordKind.COMPLETION_RECEIPT, "passed", "active in the cloud"),
    ],
)
def test_records_alone(in_store, made: World, last: RecordKind, state: str, text: str) -> None:
    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, last)
        found = await state_of(store, unit.device)
        assert found.state == state
        assert text in found.text

    in_store(story)


@pytest.mark.parametrize(
    ("last", "kind", "state", "text"),
    [
        (RecordKind.PIN, RecordKind.PIN_REFUSED, "lost", TABLE["pin-refused"].remedy),
        (RecordKind.COMPLETION, RecordKind.COMPLETION_REFUSED, "passed", "the registry refused its completion: call"),
    ],
)
def test_what_the_registry_refused(
    in_store, made: World, last: RecordKind, kind: RecordKind, state: str, text: str
) -> None:
    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, last)
        job = await kit.job_of(store, unit.device)
        await store.record(job.job_id, kind, kit.refusal(made, job, kind))
        found = await state_of(store, unit.device)
        assert found.state == state
        assert text in found.text

    in_store(story)


@pytest.mark.parametrize(
    ("verdict", "code", "step", "state"),
    [
        ("HELD", "registry-unreachable", "pinned", "held"),
        ("QUARANTINE", "anchor-differs", "anchored", "quarantined"),
        ("FAIL", "link-lost", "anchored", "in work"),
    ],
)
def test_the_last_verdict_says_why_and_what_to_do(
    in_store, made: World, verdict: str, code: str, step: str, state: str
) -> None:
    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.PIN)
        job = await kit.job_of(store, unit.device)
        await store.note(kit.happened(made, "verdict", job, 1, verdict="FAIL", code="no-answer", step="verified"))
        await store.note(kit.happened(made, "verdict", job, 2, verdict=verdict, code=code, step=step))
        # an id anybody can claim: what became of a unit that had not proved its key says nothing of the real one
        await store.note(
            kit.happened(made, "verdict", job, 3, verdict="QUARANTINE", code="key-lost", step="identified")
        )
        found = await state_of(store, unit.device)
        assert found.state == state
        assert found.text == f"{verdict} at {step}: {code}. {TABLE[code].sentence} {TABLE[code].remedy}"

    in_store(story)


def test_before_it_is_signed_for_any_verdict_counts(in_store, made: World) -> None:
    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.INTENT)
        job = await kit.job_of(store, unit.device)
        await store.note(kit.happened(made, "verdict", job, 1, verdict="FAIL", code="from-afar", step="keyed"))
        assert await state_of(store, unit.device) == JobState(state="in work", text="FAIL at keyed: from-afar")

    in_store(story)


def test_verifications_of_a_passed_unit_are_no_attempts(in_store, made: World) -> None:
    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.INTENT)
        device, order = unit.device.device_id, made.order.order_id
        await store.begin(device, order, slot="1")
        for kind, statement in unit.steps.items():
            await store.record(unit.device.job, kind, statement)
        assert await store.verified_again(unit.device.job) == 0
        for _ in range(3):
            known = await store.begin(device, order, slot="1")
        assert (known.attempts, await store.verified_again(unit.device.job)) == (5, 3)
        other = await kit.bring_to(store, made, RecordKind.PIN)
        await store.begin(other.device.device_id, order, slot="1")
        assert await store.verified_again(other.device.job) == 0, "it has not passed"

    in_store(story)


def test_emulated_units_are_counted_and_real_ones_are_not(in_store, made: World, tmp_path: Path) -> None:
    async def story(store: JobStore) -> None:
        await kit.bring_to(store, made, RecordKind.PIN)
        real = await kit.open_as(store, made, Device())
        declared = read(made.pin(real), PinStatement).declared
        pin = made.pin(real, declared=msgspec.structs.replace(declared, emulated=False))
        await store.record(real.job, RecordKind.INTENT, kit.unsigned(pin))
        await store.record(real.job, RecordKind.PIN, pin)
        await kit.bring_to(store, made, RecordKind.INTENT)  # nothing is signed for yet
        (told,) = await order_reports(store)
        assert (told.emulated, told.quantity + told.allowance - told.unused) == (1, 2)
        await kit.publish(store, made)

    in_store(story)
    engine = open_database(tmp_path / "station.db", read_only=True)
    try:
        assert audit(engine, made.trusted, kit.STATION).emulated == 1
    finally:
        engine.dispose()
