"""A finished unit is reworked from a station: another key, another anchor, opened; cut off anywhere, it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fixtures.families.smp.emulated import flash
from fixtures.families.smp.emulated.faults import Faults, Strike, Trouble, Verb
from registry.database import Database
from station.events import Verdict
from station.rework.acts import Asked as Asking
from station.rework.acts import burned, judged
from station.rework.bench import BEGAN, ENDED, WORD
from station.rework.evidence import Asked, NewKey
from station.rework.flow import Rework
from station.usage import UsageError
from tests.registry.benching import (
    ENDS,
    Benched,
    Fresh,
    KilledError,
    another_anchor,
    fresh_benches,
    site_with_signer,
    unasked,
)
from tests.registry.living import WHO
from tests.registry.make import public
from tests.trust.people import approved_by, person
from tests.trust.pin_acts import NOW, approved
from trust.dsse import Envelope
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(60)
GOOD = frozenset({"active", "expiring"})
KNOWN = GOOD | {"ended"}


@pytest.fixture
def benched(database: Database, tmp_path: Path) -> Benched:
    return Benched(site_with_signer(database, tmp_path), tmp_path)


@pytest.fixture
def fresh(tmp_path: Path, migrated: bytes) -> Iterator[Fresh]:
    """As many units as a test wants, each with a registry of its own."""
    with fresh_benches(tmp_path, migrated) as another:
        yield another


def fingerprint_of(private: bytes) -> str:
    key = load_der_private_key(private, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return public(key).fingerprint


def test_another_key_is_in_use_at_once_and_the_old_one_ends_in_its_time(benched: Benched) -> None:
    site, device = benched.site, benched.device
    act = site.act(device, "rekey", ends_at=ENDS)
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.PASS, "", 0), done
    assert done.old_key_until == ENDS
    assert site.states(device) == ["expiring", "active"]
    assert [each.kind for each in benched.memory.events] == [BEGAN, WORD, WORD, ENDED]
    again = asyncio.run(benched.rework(act))
    assert (again.verdict, again.already, again.fingerprint) == (Verdict.PASS, True, done.fingerprint)
    site.now += timedelta(days=8)
    ended = asyncio.run(benched.rework(act))
    assert (ended.verdict, ended.old_key_until, ended.already) == (Verdict.PASS, "", False), ended
    assert site.states(device) == ["ended", "active"]
    assert benched.flash().beside is None
    assert benched.flash().locked_for is not None
    assert done.fingerprint != public(device.key).fingerprint


def require_usable(benched: Benched, good: frozenset[str] = KNOWN) -> None:
    """Whatever was cut off: the unit is locked, and the key that it uses is pinned, or was until the new one was."""
    held = benched.flash()
    assert held.locked_for is not None
    assert held.key is not None
    in_use = fingerprint_of(held.key.private)
    taken = {each.key.fingerprint for each in benched.site.read(benched.device).keys if each.state in good}
    assert in_use in taken, "a key in use that the registry does not take"


def require_done(benched: Benched) -> None:
    held = benched.flash()
    assert held.beside is None
    assert held.key is not None
    (old, new) = benched.site.read(benched.device).keys
    assert (old.state, new.state) == ("ended", "active")
    assert fingerprint_of(held.key.private) == new.key.fingerprint


def calls(database: Database, directory: Path) -> list[str]:
    """The calls to registry and ledger of a rework that nothing disturbs."""
    benched = Benched(site_with_signer(database, directory), directory)
    done = asyncio.run(benched.rework(benched.site.act(benched.device, "rekey")))
    assert done.verdict is Verdict.PASS, done
    return benched.points.met


def to_the_old_keys_end(benched: Benched, act: Envelope) -> None:
    asyncio.run(benched.rework(act))
    benched.site.now += timedelta(days=8)
    asyncio.run(benched.rework(act))


def test_a_station_that_dies_at_any_call_goes_on_from_the_top(database: Database, tmp_path: Path, fresh: Fresh) -> None:
    met = calls(database, tmp_path)
    assert len(met) > 10
    for number, name in enumerate(met):
        for when in ("kill_before", "kill_after"):
            benched = fresh()
            act = benched.site.act(benched.device, "rekey", ends_at=ENDS)
            setattr(benched.points, when, number)
            with pytest.raises(KilledError):
                to_the_old_keys_end(benched, act)
            require_usable(benched, GOOD)
            done = asyncio.run(benched.rework(act))
            assert done.verdict is Verdict.PASS, (when, name, done)
            require_usable(benched, GOOD)
            benched.site.now += timedelta(days=8)
            assert asyncio.run(benched.rework(act)).verdict is Verdict.PASS, (when, name)
            require_done(benched)


def test_a_lost_answer_of_the_registry_is_asked_for_and_nothing_is_done_twice(
    database: Database, tmp_path: Path, fresh: Fresh
) -> None:
    for number, name in enumerate(calls(database, tmp_path)):
        if not name.startswith("registry"):
            continue
        benched = fresh()
        act = benched.site.act(benched.device, "rekey")
        benched.points.lose = number
        done = asyncio.run(benched.rework(act))
        if name == "registry repin":
            assert done.verdict is Verdict.PASS, "it has looked whether the key is pinned"
        else:
            assert (done.verdict, done.code, done.exit_code) == (Verdict.HELD, "registry-unreachable", 7), name
        require_usable(benched)
        assert asyncio.run(benched.rework(act)).verdict is Verdict.PASS, name
        require_done(benched)


WRITES = (Verb.REKEY_NONCE, Verb.REKEY_STEP)
POWER = (Trouble.POWER_LOST_BEFORE, Trouble.POWER_LOST_AFTER, Trouble.ANSWER_LOST, Trouble.REQUEST_LOST)


@pytest.mark.parametrize("trouble", POWER, ids=lambda each: each.name.lower())
@pytest.mark.parametrize("verb", WRITES)
def test_power_and_answers_lost_at_each_step(fresh: Fresh, verb: Verb, trouble: Trouble) -> None:
    for skip in range(3):  # new key, commit, end of the old key
        cut_off_and_again(fresh(), Strike(verb, trouble, skip=skip))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trouble", POWER, ids=lambda each: each.name.lower())
@pytest.mark.parametrize("verb", [each for each in Verb if each not in {*WRITES, Verb.RESET}])
def test_power_and_answers_lost_at_every_other_command(fresh: Fresh, verb: Verb, trouble: Trouble) -> None:
    for skip in range(12):
        cut_off_and_again(fresh(), Strike(verb, trouble, skip=skip))


def cut_off_and_again(benched: Benched, strike: Strike) -> None:
    act = benched.site.act(benched.device, "rekey")
    first = asyncio.run(benched.rework(act, benched.slot(Faults(strikes=(strike,)))))
    assert first.verdict in {Verdict.PASS, Verdict.FAIL}, (strike, first)
    require_usable(benched)
    again = asyncio.run(benched.rework(act))
    assert again.verdict is Verdict.PASS, (strike, again)
    require_done(benched)


def test_a_story_that_commits_before_it_pins_is_caught(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of `require_usable`: the order of steps is what it looks for."""
    benched = fresh()
    act = benched.site.act(benched.device, "rekey")
    real = Rework.make_key

    async def too_early(self: Rework, asked: Asked) -> NewKey:
        await real(self, asked)
        held = benched.flash()
        assert held.key is not None
        assert held.beside is not None
        flash.store(
            benched.path,
            msgspec.structs.replace(held, key=held.beside.key, beside=flash.BesideRecord(held.key, old=True)),
        )
        raise KilledError

    monkeypatch.setattr(Rework, "make_key", too_early)
    with pytest.raises(KilledError):
        asyncio.run(benched.rework(act))
    with pytest.raises(AssertionError, match="does not take"):
        require_usable(benched)


def test_a_new_anchor_and_an_open_lock(fresh: Fresh) -> None:
    benched = fresh()
    anchor, sha256 = another_anchor(benched)
    act = benched.site.act(benched.device, "rekey", change="new-anchor", key_type="", anchor_sha256=sha256)
    for already in (False, True):
        done = asyncio.run(benched.rework(act, anchor=anchor))
        assert (done.verdict, done.already) == (Verdict.PASS, already), done
    held = benched.flash().anchor
    assert held is not None
    assert (held.host, held.port) == ("new.example", 5684)
    unlock = benched.site.act(benched.device, "rekey", change="unlock", key_type="")
    for already in (False, True):
        done = asyncio.run(benched.rework(unlock))
        assert (done.verdict, done.already) == (Verdict.PASS, already), done
    assert benched.flash().locked_for is None
    opened = asyncio.run(benched.rework(act, anchor=anchor))
    assert (opened.verdict, opened.code) == (Verdict.FAIL, "unit-open")


def key_of_a_cut_off(benched: Benched, control: Benched, act: Envelope) -> flash.KeyRecord:
    """The key beside the one in use, of a rework in which the station died before the registry saw the new one."""
    benched.points.kill_before = names(control).index("registry challenge")
    with pytest.raises(KilledError):
        asyncio.run(benched.rework(act))
    left = benched.flash().beside
    assert left is not None
    return left.key


def test_a_key_that_another_act_left_beside_is_abandoned_and_another_one_is_made(fresh: Fresh) -> None:
    benched = fresh()
    first, second = (benched.site.act(benched.device, "rekey") for _ in range(2))
    left = key_of_a_cut_off(benched, fresh(), first)
    done = asyncio.run(benched.rework(second))
    assert done.verdict is Verdict.PASS, done
    assert done.fingerprint != fingerprint_of(left.private)
    require_done(benched)
    late = asyncio.run(benched.rework(first))
    assert (late.verdict, late.code) == (Verdict.QUARANTINE, "key-changed"), "the device is not as this act says"


def test_one_more_signature_on_the_act_makes_another_key_and_blocks_nothing(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word that had the key made names the act without it: the registry would never take that key by this act."""
    monkeypatch.setitem(WHO, "paul", person("paul", "product-owner"))
    benched = fresh()
    act = benched.site.act(benched.device, "rekey")
    left = key_of_a_cut_off(benched, fresh(), act)
    done = asyncio.run(benched.rework(approved_by(act, WHO["paul"])))
    assert done.verdict is Verdict.PASS, done
    assert done.fingerprint != fingerprint_of(left.private)
    require_done(benched)


def test_a_key_made_by_this_very_act_is_kept(fresh: Fresh) -> None:
    """Control of the one above: nothing is abandoned that the act has made."""
    benched = fresh()
    act = benched.site.act(benched.device, "rekey")
    left = key_of_a_cut_off(benched, fresh(), act)
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.fingerprint) == (Verdict.PASS, fingerprint_of(left.private)), done
    require_done(benched)


def names(benched: Benched) -> list[str]:
    asyncio.run(benched.rework(benched.site.act(benched.device, "rekey")))
    return benched.points.met


@pytest.mark.parametrize("who", [("pia",), ("pia", "pia"), ("ada", "ben"), ()])
def test_what_too_few_or_others_approved_changes_nothing(fresh: Fresh, who: tuple[str, ...]) -> None:
    benched = fresh()
    before = benched.flash()
    said = benched.site.said(benched.device, "rekey")
    act = approved(said, *(WHO[each] for each in dict.fromkeys(who)))
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.FAIL, "act-refused", 1), done
    assert "act-not-approved" in done.detail
    assert benched.flash() == before


def test_an_act_that_is_over_changes_nothing(fresh: Fresh) -> None:
    benched = fresh()
    act, before = benched.site.act(benched.device, "rekey"), benched.flash()
    benched.site.now += timedelta(days=8)
    done = asyncio.run(benched.rework(act))
    assert (done.code, done.exit_code) == ("act-refused", 1), done
    assert "act-expired" in done.detail
    assert benched.flash() == before


def test_another_unit_in_the_slot_is_left_alone(fresh: Fresh) -> None:
    benched = fresh()
    act = benched.site.act(benched.device, "rekey")
    held = msgspec.structs.replace(benched.flash(), device_id=b"\xe0\x0fanother-un")
    flash.store(benched.path, held)
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.FAIL, "unit-another", 1)
    assert benched.flash() == held


@pytest.mark.parametrize("change", ["new-key", "unlock", "new-anchor"])
def test_a_scrapped_unit_is_not_reworked(fresh: Fresh, change: str) -> None:
    benched = fresh()
    anchor, sha256 = another_anchor(benched) if change == "new-anchor" else (None, "")
    key_type = "ec-p256" if change == "new-key" else ""
    act = benched.site.act(benched.device, "rekey", change=change, key_type=key_type, anchor_sha256=sha256)
    benched.site.acts.do(benched.device.device_id, "scrap", benched.site.act(benched.device, "scrap"))
    before = benched.flash()
    done = asyncio.run(benched.rework(act, anchor=anchor))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.QUARANTINE, "device-scrapped", 3), done
    assert benched.flash() == before


def test_scrap_is_done_once_and_found_done_again(fresh: Fresh) -> None:
    benched = fresh()
    act = benched.site.act(benched.device, "scrap")
    registry, trusted = benched.bench(act).registry, benched.site.made.trusted
    for before in (False, True):
        found = asyncio.run(burned(registry, benched.device.device_id, act, trusted, unasked))
        assert found == (benched.site.made.order.order_id, before)
    assert benched.site.read(benched.device).state == "scrapped"


def test_a_unit_of_another_authority_takes_no_word_and_is_set_aside(fresh: Fresh) -> None:
    benched = fresh()
    act, held = benched.site.act(benched.device, "rekey"), benched.flash()
    assert held.anchor is not None
    strange = msgspec.structs.replace(held.anchor, auth=public(ec.generate_private_key(ec.SECP256R1())).spki)
    flash.store(benched.path, msgspec.structs.replace(held, anchor=strange))
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.QUARANTINE, "word-not-taken", 3), done
    assert benched.flash().key == held.key


def test_an_old_key_of_an_act_that_was_not_ended_comes_first(fresh: Fresh) -> None:
    benched = fresh()
    first = benched.site.act(benched.device, "rekey", ends_at=ENDS)
    done = asyncio.run(benched.rework(first))
    said = benched.site.said(benched.device, "rekey")
    second = approved(msgspec.structs.replace(said, fingerprint=done.fingerprint), WHO["pia"], WHO["quinn"])
    again = asyncio.run(benched.rework(second))
    assert (again.verdict, again.code, again.exit_code) == (Verdict.FAIL, "unit-between-keys", 1), again


def test_a_key_that_the_registry_does_not_take_is_no_line_stop(fresh: Fresh) -> None:
    benched = fresh()
    act = benched.site.act(benched.device, "rekey", key_type="rsa-2048")
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, done.code, done.exit_code) == (Verdict.FAIL, "bad-proof", 1), done
    assert "key type" in done.detail
    require_usable(benched)
    assert asyncio.run(benched.rework(benched.site.act(benched.device, "rekey"))).verdict is Verdict.PASS


@pytest.mark.parametrize(("days", "good"), [(0, True), (6, True), (8, True), (35, True), (39, False)], ids=str)
def test_an_act_may_be_given_again_until_its_old_key_is_ended(fresh: Fresh, days: int, good: bool) -> None:
    benched = fresh()
    asked = Asking(config_file=Path("c"), device=benched.device.device_id, act_file=Path("a"))
    act = benched.site.act(benched.device, "rekey", ends_at=ENDS)
    at, trusted = NOW + timedelta(days=days), benched.site.made.trusted
    with contextlib.nullcontext() if good else pytest.raises(UsageError, match="was good until"):
        assert judged(act, asked, trusted, "rekey", at).ends_at == ENDS
    with pytest.raises(UsageError, match="it is an act rekey: station device rework"):
        judged(act, asked, trusted, "scrap", at)
    plain = benched.site.act(benched.device, "rekey")
    with contextlib.nullcontext() if days < 7 else pytest.raises(UsageError, match="was good until"):
        judged(plain, asked, trusted, "rekey", at)
    other = Asking(config_file=Path("c"), device=DeviceId(b"\xe0\x0fanother-un"), act_file=Path("a"))
    with pytest.raises(UsageError, match="it is about device"):
        judged(act, other, trusted, "rekey", at)
