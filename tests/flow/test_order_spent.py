"""The registry has no number left of an order, the signer has: the line stops, and nobody begins a unit in vain after it.

A copy of the station has used the order up: the same signer, put back from a backup, and a ledger of its own.
"""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from registry.orders import counts
from registry.orders.counts import Share
from station import order_report
from station.events import Step, Verdict
from station.exits import Exit
from station.faults import Fault
from station.headroom import Headroom
from station.order_report import room_left
from station.wiring import outbox_maker
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.books import drain, play, store
from tests.flow.lease_causes import new, used_up_by_a_copy
from trust.identity import DeviceId

ORDER = {"quantity": 2, "allowance": 0}


def allow_more(bench: Bench, units: int) -> None:
    """As officers' act does at the registry (tests/station/test_raising.py)."""
    database = bench.plant.registry_database()
    share = Share.of(bench.plant.work, bench.plant.order.payload_sha256, "st-01")
    database.writing(lambda connection: counts.raise_limit(connection, share, units))
    database.close()


async def _refused(bench: Bench) -> Headroom:
    """One unit has been signed for, and its pin has not been taken; the room of the next batch."""
    await used_up_by_a_copy(bench)
    room = await room_left(store(bench), bench.plant.work)
    spent = await bench.insert(new(bench, "dev-3"), headroom=room)
    assert (spent.code, spent.step, spent.exit_code) == ("order-spent", Step.PINNED, Exit.ORDER_EXHAUSTED), spent
    _turned_away(bench, room)  # in this batch, if it went on
    return await room_left(store(bench), bench.plant.work)


def _turned_away(bench: Bench, room: Headroom) -> None:
    with pytest.raises(Fault) as caught:
        room.enter("dev-4", DeviceId(b"\x04" * 12))
    assert caught.value.code == "order-full"
    assert str(DeviceId(bench.flash("dev-3").device_id)) in caught.value.detail


def test_the_next_batch_begins_no_unit_and_goes_on_once_officers_have_allowed_more(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        room = await _refused(bench)
        away = await bench.insert(new(bench, "dev-4"), headroom=room)
        assert (away.code, away.step, bench.flash("dev-4").key) == ("order-full", Step.ASSIGNED, None), away
        again = await bench.insert(bench.slot(name="dev-3"), headroom=room)
        assert (again.code, again.step) == ("order-spent", Step.PINNED), "it is signed for: it may try again"
        allow_more(bench, 2)
        for name in ("dev-3", "dev-4"):
            done = await bench.insert(bench.slot(name=name), headroom=room)
            assert done.verdict is Verdict.PASS, done

    play(tmp_path, story, **ORDER)


def test_a_station_that_forgot_it_would_begin_one_more(tmp_path: Path) -> None:
    """Negative control: its own count has room."""

    async def nothing(*_: object) -> list[DeviceId]:
        return []

    async def story(bench: Bench) -> None:
        await _refused(bench)
        with mock.patch.object(order_report, "_numberless", nothing):
            room = await room_left(store(bench), bench.plant.work)
        begun = await bench.insert(new(bench, "dev-4"), headroom=room)
        assert (begun.code, begun.step) == ("order-spent", Step.PINNED), begun
        assert bench.flash("dev-4").key is not None, "begun in vain"

    play(tmp_path, story, **ORDER)


def test_what_the_outbox_hears_of_a_held_unit_counts_as_well(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await used_up_by_a_copy(bench)
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        assert (await bench.insert(new(bench, "dev-3"))).verdict is Verdict.HELD
        bench.change(cloud=steady)
        line = bench.plant.line(bench.parties())
        outbox = outbox_maker(line, store(bench), bench.plant.stamp())(lambda found: pytest.fail(str(found)))
        assert (await outbox.drain_once()).objected == 1
        _turned_away(bench, line.headroom)
        allow_more(bench, 1)
        assert (await outbox.drain_once()).delivered == 1
        line.headroom.enter("dev-4", DeviceId(b"\x04" * 12))
        await drain(bench)

    play(tmp_path, story, **ORDER)
