"""Which reworked units may ship: real registry, ledger and unit; what a rework left of the unit decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures.families.smp.emulated import flash
from registry.database import Database
from station import release as releasing
from station.cloud import PinRecord
from station.cloud.devices import Devices
from station.exits import Exit
from station.history import Reader, device_history
from station.jobs import RecordKind
from station.jobs.leaf import VERIFIED_AGAIN
from station.jobs.store import JobStore
from station.release import UnitRelease, exit_of, release
from station.rework.look import Look, of_order, words_now
from station.rework.reworked import LeftAs
from tests.registry.benching import ENDS, Benched, KilledError, Registry, another_anchor, site_with_signer
from tests.registry.living import Living
from tests.registry.make import public
from tests.station import ledgerkit as kit
from trust.dsse import Envelope
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(90)


@dataclass(frozen=True, slots=True)
class Pins:
    """What the registry shows of a first pin."""

    site: Living

    async def history(self, device: DeviceId) -> PinRecord | None:
        held = self.site.pins.find(device)
        if held is None or held.completion is None:
            return None
        return PinRecord(
            state=held.state, statement=held.pin.statement, receipt=held.pin.receipt,
            completion=held.completion.statement, completion_receipt=held.completion.receipt,
        )  # fmt: skip


class Bench:
    """A unit that has passed by this station's own ledger, and is reworked there."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.benched = Benched(site_with_signer(database, directory), directory)
        self.site, self.device = self.benched.site, self.benched.device
        self.ledger = directory / "station.db"

    def act(self, **changes: str) -> Envelope:
        return self.site.act(self.device, "rekey", **changes)

    def unlock(self, **changes: str) -> Envelope:
        return self.act(change="unlock", key_type="", **changes)

    def do(self, work: Callable[[JobStore], object]) -> list[object]:
        """Something with the ledger, which has the unit's papers from its first use on."""
        found: list[object] = []

        async def run() -> None:
            store = kit.store_at(self.ledger, self.site.made)
            try:
                await self._filled(store)
                found.append(await work(store))
            finally:
                await store.close()

        asyncio.run(run())
        return found

    async def _filled(self, store: JobStore) -> None:
        if await store.of_device(self.device.device_id):
            return
        record = await Pins(self.site).history(self.device.device_id)
        assert record is not None and record.completion is not None and record.completion_receipt is not None
        order = self.site.made.order.order_id
        await store.keep_order(self.site.order)
        job = await kit.opened(store, self.device.device_id, order, self.device.job)
        for kind, statement in (
            (RecordKind.INTENT, kit.unsigned(record.statement)),
            (RecordKind.PIN, record.statement),
            (RecordKind.PIN_RECEIPT, record.receipt),
            (RecordKind.COMPLETION_INTENT, kit.unsigned(record.completion)),
            (RecordKind.COMPLETION, record.completion),
            (RecordKind.COMPLETION_RECEIPT, record.completion_receipt),
        ):
            await store.record(job.job_id, kind, statement)

    def rework(self, act: Envelope) -> None:
        (done,) = self.do(lambda store: self.benched.rework(act, memory=store))
        assert done.code == "", done

    def reader(self, store: JobStore) -> Reader:
        return Reader(
            root=self.site.made.trusted, jobs=store, cloud=Pins(self.site),
            devices=Devices(Registry(self.site, self.benched.points)),
        )  # fmt: skip

    def released(self, *, devices: Devices | None = None) -> UnitRelease:
        async def work(store: JobStore) -> object:
            reader = self.reader(store)
            reader = reader if devices is None else replace(reader, devices=devices)
            return await release(reader, self.site.made.order.order_id, "pending")

        ((unit,),) = self.do(work)
        return unit

    def shown(self) -> str:
        """The key that `station device show` tells."""
        (found,) = self.do(lambda store: device_history(self.reader(store), self.device.device_id))
        return found.registry.fingerprint


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path)


def test_what_got_another_key_here_ships_with_that_key(bench: Bench) -> None:
    assert (bench.released().reason, bench.shown()) == ("", public(bench.device.key).fingerprint)
    bench.rework(bench.act(ends_at=ENDS))
    new = bench.site.read(bench.device).life.fingerprint
    assert (bench.released().reason, bench.shown()) == ("", new)
    assert new != public(bench.device.key).fingerprint


def test_a_registry_that_does_not_show_the_new_key_is_a_clash(bench: Bench) -> None:
    """It goes by what is proved, and not by the registry's first pin statement, which is the same as ever."""
    bench.rework(bench.act())

    class Forgetful:
        async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
            return b'{"state":"active","order_id":"order-7","keys":[],"acts":[],"words":[]}'

    unit = bench.released(devices=Devices(Forgetful()))
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "clash", Exit.QUARANTINED)


Told = dict[str, Any]


def lying(bench: Bench, twist: Callable[[Told], None]) -> Devices:
    """The registry, with something of its answers twisted."""

    class Lying(Registry):
        async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
            told = msgspec.json.decode(await Registry.asked(self, method, path, body))
            twist(told)
            return msgspec.json.encode(told)

    return Devices(Lying(bench.site, bench.benched.points))


def another_state(told: Told) -> None:
    told["state"] = "revoked"


def the_first_key(told: Told) -> None:
    told["keys"].reverse()


def no_new_key(told: Told) -> None:
    told["acts"][0]["repin"] = None


def another_receipt(told: Told) -> None:
    told["acts"][0]["receipt"] = told["receipt"]


def one_person(told: Told) -> None:
    told["acts"][0]["act"]["signatures"].pop()


TWISTS = (another_state, the_first_key, no_new_key, another_receipt, one_person)


@pytest.mark.parametrize("twist", TWISTS)
def test_a_registry_whose_word_on_the_act_does_not_hold_lets_nothing_ship(
    bench: Bench, twist: Callable[[Told], None]
) -> None:
    bench.rework(bench.act())

    unit = bench.released(devices=lying(bench, twist))
    assert (unit.ships, unit.reason) == (False, "clash"), unit
    assert "does not hold" in unit.text


def verified(bench: Bench, *, online: bool = True) -> None:
    """A line of this station has seen the unit whole and locked."""

    async def noted(store: JobStore) -> None:
        site, device = bench.site, bench.device.device_id
        devices = Devices(Registry(site, bench.benched.points))
        words = await words_now(devices._registry, site.made.trusted, device) if online else frozenset()
        look = Look(of_order(site.made.order), words)
        event = kit.stamp(site.made).event(VERIFIED_AGAIN, details=look.details())
        await store.note(msgspec.structs.replace(event, device_id=str(device)))

    bench.do(noted)


def test_an_open_unit_stays_until_a_line_has_locked_it_again(bench: Bench) -> None:
    bench.rework(bench.unlock())
    assert bench.benched.flash().locked_for is None
    unit = bench.released()
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "not-locked", Exit.HELD)
    assert "station run" in unit.text
    verified(bench)
    assert bench.released().reason == ""


def test_a_rework_that_was_cut_off_keeps_the_unit_here(bench: Bench) -> None:
    act = bench.act()
    bench.benched.points.kill_before = 4  # behind the first word
    with pytest.raises(KilledError):
        bench.do(lambda store: bench.benched.rework(act, memory=store))
    unit = bench.released()
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "in-rework", Exit.HELD)
    bench.benched.points.kill_before = None
    bench.rework(act)
    assert bench.released().reason == ""


def test_a_key_that_it_got_elsewhere_is_told(bench: Bench) -> None:
    """By another station's ledger: nobody here knows whether it is locked."""
    asyncio.run(bench.benched.rework(bench.act()))
    unit = bench.released()
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "reworked-elsewhere", Exit.HELD)
    assert bench.site.read(bench.device).life.fingerprint in unit.text


def opened_elsewhere(bench: Bench) -> UnitRelease:
    """By another station's ledger."""
    asyncio.run(bench.benched.rework(bench.unlock()))
    return bench.released()


def test_a_unit_that_was_opened_elsewhere_is_told(bench: Bench) -> None:
    """Its key is the same; what tells is the authority's word, which the registry has on record."""
    unit = opened_elsewhere(bench)
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "reworked-elsewhere", Exit.HELD)
    assert "be opened" in unit.text

    verified(bench, online=False)
    assert bench.released().reason == "reworked-elsewhere", "nobody knew of that word then"
    verified(bench)
    assert bench.released().reason == ""
    held = bench.benched.flash()
    flash.store(bench.benched.path, msgspec.structs.replace(held, locked_for=bench.device.job.raw))
    asyncio.run(bench.benched.rework(bench.unlock(reason="once more")))
    assert bench.released().reason == "reworked-elsewhere", "it was opened after that"


def test_a_unit_with_another_anchor_from_elsewhere_is_told_and_one_from_here_ships(bench: Bench) -> None:
    anchor, sha256 = another_anchor(bench.benched)
    act = bench.act(change="new-anchor", key_type="", anchor_sha256=sha256)
    asyncio.run(bench.benched.rework(act, anchor=anchor))
    assert bench.released().reason == "reworked-elsewhere"
    (done,) = bench.do(lambda store: bench.benched.rework(act, memory=store, anchor=anchor))
    assert done.code == "", done
    assert bench.released().reason == "", "verified here since"


def test_another_anchor_under_a_new_key_is_told(bench: Bench) -> None:
    """The act for the key looks at the key; the anchor that it met on the way is not the order's."""
    act = bench.act()
    bench.rework(act)
    assert bench.released().ships
    held = bench.benched.flash()
    assert held.anchor is not None
    flash.store(bench.benched.path, msgspec.structs.replace(held, anchor=msgspec.structs.replace(held.anchor, port=4)))
    bench.rework(act)
    unit = bench.released()
    assert (unit.ships, unit.reason) == (False, "reworked-elsewhere"), unit
    assert "anchor" in unit.text


def test_an_act_for_a_new_anchor_names_the_key(bench: Bench) -> None:
    anchor, sha256 = another_anchor(bench.benched)
    bench.rework(bench.act())
    act = bench.act(change="new-anchor", key_type="", anchor_sha256=sha256)
    (done,) = bench.do(lambda store: bench.benched.rework(act, memory=store, anchor=anchor))
    assert done.code == "key-changed", done


def more_than_a_word(told: Told) -> None:
    told["words"][0]["act"]["signatures"].pop()


def somebodys_word(told: Told) -> None:
    told["words"][0]["authorisation"]["signatures"] = told["receipt"]["signatures"]


def at_another_time(told: Told) -> None:
    told["words"][0]["at"] = "2031-01-01T00:00:00.000Z"


def no_envelope(told: Told) -> None:
    told["words"][0]["act"] = {}


@pytest.mark.parametrize("twist", [more_than_a_word, somebodys_word, at_another_time, no_envelope])
def test_a_word_that_does_not_hold_lets_nothing_ship(bench: Bench, twist: Callable[[Told], None]) -> None:
    bench.rework(bench.unlock())

    unit = bench.released(devices=lying(bench, twist))
    assert (unit.ships, unit.reason) == (False, "clash"), unit


def test_a_time_of_no_zone_is_no_answer(bench: Bench) -> None:
    bench.rework(bench.unlock())

    def no_zone(told: Told) -> None:
        told["words"][0]["at"] = "2026-01-01T00:00:00"

    assert bench.released(devices=lying(bench, no_zone)).reason == "no-answer"


def test_control_without_the_words_a_unit_opened_elsewhere_would_ship(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "_unseen", lambda *_: ("", ""))
    assert opened_elsewhere(bench).ships


def test_control_without_the_reworks_an_open_unit_would_ship(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.rework(bench.unlock())

    async def nothing(_ledger: object, _device: DeviceId) -> LeftAs:
        return LeftAs()

    monkeypatch.setattr(releasing, "left_as", nothing)
    assert bench.released().reason == "reworked-elsewhere", "the registry has the word on record"
    monkeypatch.setattr(releasing, "_unseen", lambda *_: ("", ""))
    assert bench.released().ships, "ledger and registry both say that it has passed"
