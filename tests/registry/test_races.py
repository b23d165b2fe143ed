"""Many threads at once: the unique constraints decide, exactly one wins, everybody else learns the right reason.

Negative control: the same race on a database whose constraint was left out must show more than one winner, so a test
that never raced would be found out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import MetaData, UniqueConstraint

from registry.database import Database, sqlite_url
from registry.errors import RefusedError
from registry.pins.service import PinService
from registry.tables import metadata
from tests.registry.make import Device, World, ec_key
from tests.registry.postgres import Server
from trust.identity import DeviceId, JobId

pytestmark = pytest.mark.both_databases

THREADS = 64


def race(service: PinService, made: World, devices: list[Device]) -> Counter[str]:
    """All pin at once; what each was told."""
    envelopes = [made.pin(each) for each in devices]
    start = threading.Barrier(len(devices))

    def one(number: int) -> str:
        start.wait()
        try:
            return service.pin(devices[number].device_id, envelopes[number], made.order_envelope).state
        except RefusedError as error:
            return error.code.value

    with ThreadPoolExecutor(len(devices)) as pool:
        return Counter(pool.map(one, range(len(devices))))


def same_key() -> list[Device]:
    key = ec_key()
    return [Device(key=key) for _ in range(THREADS)]


def same_device_and_key() -> list[Device]:
    key, device_id = ec_key(), DeviceId(JobId.new().raw[:12])
    return [Device(key=key, device_id=device_id) for _ in range(THREADS)]


def same_device() -> list[Device]:
    device_id = DeviceId(JobId.new().raw[:12])
    return [Device(device_id=device_id) for _ in range(THREADS)]


def same_job() -> list[Device]:
    job = JobId.new()
    return [Device(job=job) for _ in range(THREADS)]


CASES = [
    (same_key, "key-on-other-device", "fingerprint"),
    (same_job, "job-bytes-differ", "station,job"),
    (same_device, "device-has-other-key", None),
    (same_device_and_key, "pinned-under-other-job", None),
]


@pytest.mark.parametrize(("devices", "code", "_column"), CASES)
def test_exactly_one_of_64_wins(
    devices: Callable[[], list[Device]],
    code: str,
    _column: str | None,
    service: PinService,
    made: World,
    rows: Callable[[str], int],
) -> None:
    assert race(service, made, devices()) == {"provisional": 1, code: THREADS - 1}
    assert (rows("pins"), rows("receipts"), rows("orders")) == (1, 1, 1)


def test_the_same_statement_from_64_threads_is_one_pin(
    service: PinService, made: World, rows: Callable[[str], int]
) -> None:
    device = Device()
    envelope = made.pin(device)
    with ThreadPoolExecutor(THREADS) as pool:
        answers = set(
            pool.map(
                lambda _: service.pin(device.device_id, envelope, made.order_envelope).pin.receipt.to_json(),
                range(THREADS),
            )
        )
    assert len(answers) == 1
    assert (rows("pins"), rows("receipts")) == (1, 1)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("devices", "_code", "column"), [each for each in CASES if each[2]])
def test_control_without_the_constraint_more_than_one_wins(
    devices: Callable[[], list[Device]],
    _code: str,
    column: str,
    kind: str,
    tmp_path: Path,
    made: World,
    postgres: Server,
) -> None:
    planted = sqlite_url(tmp_path / "planted.db") if kind == "sqlite" else postgres.url(postgres.empty())
    database = Database.open(planted)
    with database.write() as connection:
        without(column).create_all(connection)
    told = race(PinService(database, made.trusted, made.signer()), made, devices())
    database.close()
    assert told["provisional"] > 1


def without(column: str) -> MetaData:
    """The schema with the unique constraint on one column of `pins` left out."""
    planted = MetaData()
    for table in metadata.sorted_tables:
        copy = table.to_metadata(planted)
        copy.constraints = {
            each
            for each in copy.constraints
            if not (isinstance(each, UniqueConstraint) and [*each.columns.keys()] == column.split(","))
        }
    return planted
