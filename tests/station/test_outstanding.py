"""What `station check` says of a long outbox is read a page at a time: twenty thousand statements take no more memory than two.

Negative control: the whole outbox at once takes many times as much.
"""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from ledger.engine import writing
from ledger.tables import Leaf
from station.jobs import RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.jobs.tables import JobRow, OutboxRow, RecordRow
from station.outstanding import left_over, objections
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.dsse import Envelope
from trust.statement import PinStatement, read

WAITING = 20_000
FLAT = 4 << 20
NOW = dt.datetime(2027, 1, 31, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def last(made: World) -> Envelope:
    return made.pin(Device())


@pytest.fixture(scope="module")
def store(made: World, last: Envelope, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobStore]:
    """Rows as they would be, put in by the thousand; the log's hashes are none."""
    path = tmp_path_factory.mktemp("long") / "station.db"
    kit.run(kit.store_at(path, made).close())
    fill(path, made.pin(Device()).to_json(), last.to_json())
    opened = kit.store_at(path, made)
    yield opened
    kit.run(opened.close())


def fill(path: Path, entry: bytes, last: bytes) -> None:
    kind = RecordKind.PIN.value
    numbers = [(2 * each, f"{each + 1:032x}") for each in range(WAITING)]
    leaves = [
        {"index": leaf + each, "entry": last if leaf == 2 * WAITING - 2 else entry, "leaf_hash": bytes(32), "frontier": bytes(8),
         "subject": job, "step": f"{each}"}
        for leaf, job in numbers for each in (0, 1)
    ]  # fmt: skip
    jobs = [
        {"job_id": job, "device_id": f"{leaf + 1:024x}", "order_id": "o", "adopted": 0, "leaf_index": leaf}
        for leaf, job in numbers
    ]
    records = [{"job_id": job, "kind": kind, "station": "s", "leaf_index": leaf + 1} for leaf, job in numbers]
    sent = [{"job_id": job, "kind": kind, "leaf_index": leaf + 1} for leaf, job in numbers]
    engine = open_database(path)
    with writing(engine) as connection:
        for table, rows in ((Leaf, leaves), (JobRow, jobs), (RecordRow, records), (OutboxRow, sent)):
            connection.execute(insert(table.metadata.tables[table.__tablename__]), rows)
    engine.dispose()


def peak(work: Callable[[], Awaitable[object]]) -> tuple[object, int]:
    """What it gives, and how many bytes there were at most while it ran, beyond those before."""

    async def run() -> object:
        return await work()

    tracemalloc.start()
    try:
        found = kit.run(run())
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_how_much_waits_is_counted(store: JobStore, last: Envelope) -> None:
    said, taken = peak(lambda: left_over(store, NOW))
    age = (NOW - dt.datetime.fromisoformat(read(last, PinStatement).made_at)).days
    assert str(said).startswith(f"{WAITING} statements wait for the registry, the oldest for {age} days"), said
    assert taken < FLAT


def test_what_was_objected_to_is_found_at_the_end_of_a_long_outbox(store: JobStore, last: Envelope) -> None:
    said, taken = peak(lambda: objections(store, {last.payload_sha256: "order-exhausted: no more"}))
    assert said == (f"pin of device {2 * WAITING - 1:024x}: order-exhausted: no more",)
    assert taken < FLAT


def test_control_the_whole_outbox_at_once_takes_many_times_as_much(store: JobStore) -> None:
    _, taken = peak(store.pending)
    assert taken > 4 * FLAT
