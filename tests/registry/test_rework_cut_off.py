"""A new anchor and an open lock, cut off anywhere: the same act again goes on. Over the station's real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures.device import Anchor
from fixtures.families.smp.emulated import flash
from fixtures.families.smp.emulated.faults import Faults, Strike, Trouble, Verb
from fixtures.memory_slot import MemorySlot
from station.events import ReworkFinished, Verdict
from station.rework.bench import BEGAN, ENDED, WORD
from station.rework.flow import Rework
from tests.registry.benching import Benched, Fresh, KilledError, Ledger, another_anchor, fresh_benches
from tests.station import ledgerkit as kit
from trust.dsse import Envelope

pytestmark = pytest.mark.timeout(120)
CHANGES = ("new-anchor", "unlock")


@pytest.fixture
def fresh(tmp_path: Path, migrated: bytes) -> Iterator[Fresh]:
    with fresh_benches(tmp_path, migrated) as another:
        yield another


class Case:
    """One unit, one act that wants this change, and the station's ledger on disk."""

    def __init__(self, benched: Benched, change: str) -> None:
        self.benched, self.change = benched, change
        self.before = benched.flash()
        self.anchor: Anchor | None = None
        sha256 = ""
        if change == "new-anchor":
            self.anchor, sha256 = another_anchor(benched)
        self.act: Envelope = benched.site.act(benched.device, "rekey", change=change, key_type="", anchor_sha256=sha256)

    async def _rework(self, slot: MemorySlot | None) -> ReworkFinished:
        store = kit.store_at(self.benched.path.with_name("station.db"), self.benched.site.made)
        try:
            ledger: Any = Ledger(store, self.benched.points)
            return await self.benched.rework(self.act, slot, anchor=self.anchor, memory=ledger)
        finally:
            await store.close()

    def rework(self, slot: MemorySlot | None = None) -> ReworkFinished:
        return asyncio.run(self._rework(slot))

    def events(self) -> list[str]:
        async def read() -> list[str]:
            store = kit.store_at(self.benched.path.with_name("station.db"), self.benched.site.made)
            try:
                told = await store.told_of(self.benched.device.device_id, (BEGAN, WORD, ENDED))
            finally:
                await store.close()
            return [each.kind for each in told]

        return asyncio.run(read())

    def is_done(self) -> bool:
        held = self.benched.flash()
        if self.change == "unlock":
            return held.locked_for is None
        return held.anchor is not None and held.anchor.host == "new.example"

    def require_usable(self) -> None:
        """Its key is the pinned one, and it is wholly as before, or wholly as the act wants it; by a word on record."""
        held, done = self.benched.flash(), self.is_done()
        anchor = held.anchor if done and self.change == "new-anchor" else self.before.anchor
        locked = None if done and self.change == "unlock" else self.before.locked_for
        assert msgspec.structs.replace(self.before, anchor=anchor, locked_for=locked) == held
        assert not done or WORD in self.events(), "a change without a word on record"

    def require_done(self) -> None:
        assert self.is_done()
        self.require_usable()
        assert self.events()[-1] == ENDED


def points(fresh: Fresh, change: str) -> list[str]:
    """The calls to registry and ledger of one that nothing disturbs."""
    case = Case(fresh(), change)
    done = case.rework()
    assert done.verdict is Verdict.PASS, done
    case.require_done()
    return case.benched.points.met


@pytest.mark.parametrize("change", CHANGES)
def test_a_station_that_dies_at_any_call_goes_on_from_the_top(fresh: Fresh, change: str) -> None:
    met = points(fresh, change)
    assert {"note rework-began", "note rework-word", "note rework-ended", "registry authorisations"} <= set(met)
    for number, name in enumerate(met):
        for when in ("kill_before", "kill_after"):
            case = Case(fresh(), change)
            setattr(case.benched.points, when, number)
            with pytest.raises(KilledError):
                case.rework()
            case.require_usable()
            setattr(case.benched.points, when, None)
            done = case.rework()
            assert done.verdict is Verdict.PASS, (when, name, done)
            case.require_done()


@pytest.mark.parametrize("change", CHANGES)
def test_a_lost_answer_of_the_registry_holds_the_unit_and_it_goes_on(fresh: Fresh, change: str) -> None:
    for number, name in enumerate(points(fresh, change)):
        if not name.startswith("registry"):
            continue
        case = Case(fresh(), change)
        case.benched.points.lose = number
        done = case.rework()
        assert (done.verdict, done.code, done.exit_code) == (Verdict.HELD, "registry-unreachable", 7), (name, done)
        case.require_usable()
        case.benched.points.lose = None
        assert case.rework().verdict is Verdict.PASS, name
        case.require_done()


@pytest.mark.parametrize("verb", [Verb.REKEY_NONCE, Verb.REKEY_STEP])
@pytest.mark.parametrize("change", CHANGES)
def test_power_and_answers_lost_at_the_step(fresh: Fresh, change: str, verb: Verb) -> None:
    for trouble in (Trouble.POWER_LOST_BEFORE, Trouble.POWER_LOST_AFTER, Trouble.ANSWER_LOST, Trouble.REQUEST_LOST):
        case = Case(fresh(), change)
        first = case.rework(case.benched.slot(Faults(strikes=(Strike(verb, trouble),))))
        assert first.verdict in {Verdict.PASS, Verdict.FAIL}, (trouble, first)
        case.require_usable()
        again = case.rework()
        assert again.verdict is Verdict.PASS, (trouble, again)
        case.require_done()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_without_a_word_on_record_is_caught(
    fresh: Fresh, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of `require_usable`: the unit is changed, and nobody's word says why."""
    case = Case(fresh(), change)

    async def by_hand(self: Rework, _: object) -> None:
        held = case.benched.flash()
        assert held.anchor is not None
        changed = {"anchor": msgspec.structs.replace(held.anchor, host="new.example")}
        flash.store(
            case.benched.path,
            msgspec.structs.replace(held, **(changed if change == "new-anchor" else {"locked_for": None})),
        )
        raise KilledError

    monkeypatch.setattr(Rework, "new_anchor", by_hand)
    monkeypatch.setattr(Rework, "unlock", by_hand)
    with pytest.raises(KilledError):
        case.rework()
    with pytest.raises(AssertionError, match="without a word"):
        case.require_usable()
