"""A device that was tried a thousand times: the next try costs what the first one did, and nothing of it is forgotten.

Negative control: a store that remembers nothing reads every verdict anew at each try.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.engine import writing
from station.jobs import OnRecord, told, writes
from station.jobs.leaf import ATTEMPT, VERDICT
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.dsse import Envelope
from trust.statement import Event, read

TRIES = 1000
Reads = Callable[[], int]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How many verdicts were read from leaves since it was asked last."""
    counted = [0]

    def counting(envelope: Envelope, kind: type[Event]) -> Event:
        counted[0] += 1
        return read(envelope, kind)

    def since() -> int:
        found, counted[0] = counted[0], 0
        return found

    monkeypatch.setattr(told, "read", counting)
    return since


def tried(path: Path, made: World, device: Device) -> JobStore:
    """A ledger in which the device was tried so often, and failed each time."""
    first = kit.store_at(path, made)
    job = kit.run(kit.opened(first, device.device_id, made.order.order_id))
    kit.run(first.close())
    engine = open_database(path)
    with writing(engine) as connection:
        for attempt in range(1, TRIES + 1):
            if attempt > 1:
                writes.note(connection, kit.happened(made, ATTEMPT, job, attempt, slot="1"))
            verdict = {"verdict": "FAIL", "code": "bad-proof", "step": "proven"}
            writes.note(connection, kit.happened(made, VERDICT, job, attempt, **verdict))
    engine.dispose()
    return kit.store_at(path, made)


async def one_more(store: JobStore, made: World, device: Device) -> OnRecord:
    """As each insertion does: looked at, begun, ended."""
    await store.of_device(device.device_id)
    begun = await store.begin(device.device_id, made.order.order_id, slot="1")
    await store.note(kit.happened(made, VERDICT, begun.job, begun.attempts, verdict="FAIL", code="no-answer", step="x"))
    return begun


def test_a_try_after_a_thousand_reads_only_what_is_new(tmp_path: Path, reads: Reads) -> None:
    made, device = world(), Device()
    store = tried(tmp_path / "station.db", made, device)

    async def story() -> None:
        first = await one_more(store, made, device)
        assert (first.attempts, len(first.verdicts), reads()) == (TRIES + 1, TRIES, TRIES)
        for number in range(2, 5):
            begun = await one_more(store, made, device)
            assert (begun.attempts, len(begun.verdicts)) == (TRIES + number, TRIES + number - 1)
            assert reads() == 1
        assert [each.attempt for each in begun.verdicts] == list(range(1, TRIES + 4)), "each once, in order"
        await store.close()

    kit.run(story())


def test_control_a_store_that_remembers_nothing_reads_them_all(
    tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, device = world(), Device()
    store = tried(tmp_path / "station.db", made, device)
    monkeypatch.setattr(told, "_JOBS", 0)

    async def story() -> None:
        for _ in range(2):
            reads()
            await one_more(store, made, device)
            assert reads() >= 2 * TRIES
        await store.close()

    kit.run(story())


def test_what_was_rolled_back_is_not_remembered(tmp_path: Path) -> None:
    made, device = world(), Device()
    store = kit.store_at(tmp_path / "station.db", made)

    async def story() -> None:
        job = (await store.begin(device.device_id, made.order.order_id, slot="1")).job
        remembered, event = told.Told(), kit.happened(made, VERDICT, job, 1, verdict="FAIL", code="no-answer", step="x")
        engine = open_database(tmp_path / "station.db")

        with writing(engine) as connection, connection.begin_nested() as part:
            writes.note(connection, event)
            assert remembered.so_far(connection, job.job_id) == (event,)
            part.rollback()
        with writing(engine) as connection:
            assert remembered.so_far(connection, job.job_id) == ()
        engine.dispose()
        await store.close()

    kit.run(story())
