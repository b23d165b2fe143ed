"""The audit counts: no order has more units than it allows, by distinct devices of this station; the control is a full order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from station.audit import AuditReport, audit
from station.audit.books import Books
from station.jobs import RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.order import Allotment

QUANTITY, ALLOWANCE = 2, 1
Story = Callable[[JobStore], Awaitable[None]]


@pytest.fixture(scope="module")
def made() -> World:
    """Two stations of equal parts: what one has left over is not the other's."""
    part = Allotment(quantity=QUANTITY, allowance=ALLOWANCE)
    parts = {"station-01": part, "station-02": part}
    return world().with_order(order_id="tiny", quantity=2 * QUANTITY, allowance=2 * ALLOWANCE, stations=parts)


@pytest.fixture
def told(tmp_path: Path, made: World) -> Callable[[Story], AuditReport]:
    def tell(story: Story) -> AuditReport:
        path = tmp_path / "station.db"

        async def write() -> None:
            store = kit.store_at(path, made)
            await store.keep_order(made.order_envelope)
            await story(store)
            await kit.publish(store, made)
            await store.close()

        kit.run(write())
        engine = open_database(path, read_only=True)
        try:
            return audit(engine, made.trusted, kit.STATION)
        finally:
            engine.dispose()

    return tell


Told = Callable[[Story], AuditReport]


def units(made: World, *last: RecordKind) -> Story:
    async def bring(store: JobStore) -> None:
        for each in last:
            await kit.bring_to(store, made, each)

    return bring


def texts(report: AuditReport) -> list[str]:
    return [f"{each.check} {each.text}" for each in report.findings]


PIN, DONE = RecordKind.PIN, RecordKind.COMPLETION_RECEIPT


def test_a_full_order_is_fine(told: Told, made: World) -> None:
    report = told(units(made, DONE, PIN, DONE))
    assert (texts(report), report.passed) == ([], QUANTITY)


def test_one_device_more_than_may_be_signed_for(told: Told, made: World) -> None:
    report = told(units(made, DONE, PIN, DONE, PIN, RecordKind.INTENT))
    assert texts(report) == ["15 4 devices are signed for under order tiny, it allows 3"]


def test_one_device_more_than_may_be_completed(told: Told, made: World) -> None:
    report = told(units(made, DONE, DONE, DONE))
    assert texts(report) == ["15 3 devices are completed under order tiny, it allows 2"]


def test_what_another_station_signed_is_on_its_account(told: Told, made: World) -> None:
    """A unit begun there and finished here: its pin statement is on that station's account, its completion on this one's."""

    async def shared(store: JobStore) -> None:
        await units(made, DONE, PIN, PIN)(store)
        elsewhere = Device()
        await kit.opened(store, elsewhere.device_id, "tiny", elsewhere.job)
        adopted = kit.papers(made, elsewhere, station="station-02")
        for kind in (PIN, RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION):
            await store.record(elsewhere.job, kind, adopted.steps[kind])

    report = told(shared)
    assert (texts(report), report.passed) == ([], QUANTITY)


def test_a_device_counts_once(made: World) -> None:
    books, device = Books(kit.STATION), Device()
    books.open(made.order)
    for _ in range(9):
        assert list(books.enter("tiny", str(device.job), PIN, kit.read(made.pin(device), kit.PinStatement))) == []
    for number in range(3):
        other = kit.read(made.pin(Device()), kit.PinStatement)
        found = list(books.enter("tiny", str(device.job), PIN, other))
        assert len(found) == (number == 2)


def test_a_report_that_would_say_something_else(told: Told, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from station.jobs.counts import Tally

    def wrong(_connection: object, _order: str, *, scrapped: bool = False) -> Tally:
        return Tally() if scrapped else Tally(active=1, signed=2)

    monkeypatch.setattr("station.audit.tally", wrong)
    report = told(units(made, DONE, PIN, DONE))
    assert texts(report) == [
        "15 signed for, passed, lost and scrapped are (3, 1, 0, 0) for the report, (3, 2, 0, 0) by the leaves"
    ]
