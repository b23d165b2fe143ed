"""A scrapped unit waits for nothing and fills nothing: no place among the held, and a passed one's place is another's."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from station.audit import audit
from station.faults import Fault
from station.headroom import Headroom
from station.held import finish_me
from station.jobs import RecordConflictError, RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.order_report import order_reports, room_left
from tests.registry.make import World
from tests.station import ledgerkit as kit
from tests.station.paperkit import STATION, Papered
from trust.identity import DeviceId
from trust.order import Allotment

ROOM = "room"
PIN, PINNED, DONE = RecordKind.PIN, RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_RECEIPT


def told(path: Path, papered: Papered, made: World, story: Callable[[JobStore], Awaitable[None]]) -> None:
    """The story in a ledger, which the audit finds nothing in but that no checkpoint covers it."""

    async def work() -> None:
        store = kit.store_at(path, made)
        await store.keep_order(made.order_envelope)
        await story(store)
        await store.close()

    kit.run(work())
    engine = open_database(path, read_only=True)
    try:
        assert [str(each) for each in audit(engine, made.trusted, STATION, signed=0).findings] == []
    finally:
        engine.dispose()


def of(papered: Papered, **changes: object) -> World:
    return papered.made.with_order(**changes)


def small(papered: Papered, quantity: int, allowance: int, **changes: object) -> World:
    part = {STATION: Allotment(quantity=quantity, allowance=allowance)}
    return of(papered, quantity=quantity, allowance=allowance, stations=part, **changes)


def one_more(room: Headroom, slot: str = "9") -> str:
    """What becomes of a unit that nobody knows yet."""
    try:
        room.enter(slot, DeviceId(secrets.token_bytes(12)))
    except Fault as found:
        return found.code
    return ROOM


async def counts(store: JobStore) -> Mapping[str, int]:
    (report,) = await order_reports(store)
    assert report.passed == report.proved + len(report.waived) + report.not_asked, "of what is not scrapped"
    names = ("passed", "active", "not_taken", "held", "quarantined", "lost", "scrapped", "in_work", "unused")
    found = {name: getattr(report, name) for name in names}
    parts = sum(found[name] for name in names if name not in {"active", "not_taken"})
    assert report.quantity + report.allowance == parts, report
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("last", [PIN, PINNED])
def test_a_unit_that_is_scrapped_while_held_waits_no_more(tmp_path: Path, last: RecordKind) -> None:
    papered = Papered.make()
    made = of(papered, offline_allowance=1)

    async def story(store: JobStore) -> None:
        unit, order = await kit.bring_to(store, made, last), made.order.order_id
        assert one_more(await room_left(store, made.order)) == "held-too-many", "control: it waits"
        assert (await finish_me(store, order), (await counts(store))["held"]) == ((str(unit.device.device_id),), 1)
        await store.keep_paper(papered.revocation(unit.device))
        assert one_more(await room_left(store, made.order)) == ROOM
        assert await finish_me(store, order) == ()
        after = await counts(store)
        assert (after["scrapped"], "held" in after, "in_work" in after) == (1, False, False)

    told(tmp_path / "station.db", papered, made, story)


def test_a_scrapped_units_place_is_used_by_another_one(tmp_path: Path) -> None:
    papered = Papered.make()
    made = small(papered, 1, 2)

    async def story(store: JobStore) -> None:
        for number in range(2):
            unit = await kit.bring_to(store, made, DONE)
            assert one_more(await room_left(store, made.order)) == "order-full", "control: the quantity has passed"
            await store.keep_paper(papered.revocation(unit.device))
            assert one_more(await room_left(store, made.order)) == ROOM
            assert await counts(store) == {"scrapped": number + 1, "unused": 2 - number}
        await kit.bring_to(store, made, DONE)
        assert await counts(store) == {"passed": 1, "active": 1, "scrapped": 2}, "scrap is paid from the allowance"
        assert one_more(await room_left(store, made.order)) == "order-full"

    told(tmp_path / "station.db", papered, made, story)


def test_an_intent_of_a_scrapped_unit_holds_no_place_and_may_have_used_a_signature(tmp_path: Path) -> None:
    papered = Papered.make()
    made = small(papered, 2, 0)

    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, RecordKind.INTENT)
        waits = await room_left(store, made.order)
        assert (one_more(waits), one_more(waits, slot="8")) == (ROOM, "order-full"), "control: it may be signed for"
        await store.keep_paper(papered.revocation(unit.device))
        room = await room_left(store, made.order)
        assert one_more(room) == ROOM
        assert one_more(room, slot="8") == "order-full", "the signer may have made one of its two statements for it"

    told(tmp_path / "station.db", papered, made, story)


def test_a_second_scrap_of_a_device_changes_nothing_and_a_revoked_key_is_not_kept(tmp_path: Path) -> None:
    """Scrapped, taken back at the registry, scrapped again: the first word stands, and no batch is stopped by the second."""
    papered = Papered.make()
    made = papered.made

    async def story(store: JobStore) -> None:
        unit = await kit.bring_to(store, made, DONE)
        with pytest.raises(RecordConflictError, match="only scrap is kept"):
            await store.keep_paper(papered.revocation(unit.device, cause="revoked"))
        for act in ("ac" * 32, "ad" * 32):
            await store.keep_paper(papered.revocation(unit.device, act_sha256=act))
        assert (await counts(store))["scrapped"] == 1

    told(tmp_path / "station.db", papered, made, story)
