"""Pins over time: what acts make of them, who must have approved, and what the database refuses whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins import acts_store
from registry.pins.acts_store import NewAct
from registry.rights import grant
from tests.registry.living import TWO, WHO, Living, confirmed, living
from tests.registry.make import Device, PrivateKey, ec_key, public, rsa_key
from tests.registry.postgres import Server
from tests.trust.people import approved_by, approvers, file_of, next_root, person
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.pin_life import Life
from trust.rekey import Step
from trust.revocation import revoked
from trust.root_file import parse, wrap

pytestmark = pytest.mark.both_databases
ENDS = utc(NOW + timedelta(days=7))


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


def refused(site: Living, device: Device, act: Envelope, kind: Any) -> Code:
    before = site.read(device)
    with pytest.raises(RefusedError) as caught:
        site.acts.do(device.device_id, kind, act)
    assert site.read(device) == before
    return caught.value.code


def refused_repin(site: Living, device: Device, act: Envelope, shown: Any) -> Code:
    before = site.read(device)
    with pytest.raises(RefusedError) as caught:
        site.acts.repin(device.device_id, act, shown)
    assert site.read(device) == before
    return caught.value.code


def test_the_new_key_is_active_and_the_old_one_ends_by_the_clock(site: Living) -> None:
    device, new = site.device(), ec_key()
    found = site.repinned(device, new, ends_at=ENDS)
    assert [(each.key.fingerprint, each.state) for each in found.keys] == [
        (public(device.key).fingerprint, "expiring"), (public(new).fingerprint, "active"),
    ]  # fmt: skip
    assert [each.key.fingerprint for each in found.good] == [public(each).fingerprint for each in (device.key, new)]
    site.now += timedelta(days=7, seconds=-1)
    assert site.states(device) == ["expiring", "active"]
    site.now += timedelta(seconds=1)
    assert site.states(device) == ["ended", "active"]
    assert [each.key.fingerprint for each in site.read(device).good] == [public(new).fingerprint]


def test_a_whole_life(site: Living) -> None:
    device, second, third = site.device(), ec_key(), ec_key()
    site.repinned(device, second, ends_at=ENDS)
    renewed = Device(key=second, device_id=device.device_id, job=device.job)
    site.now += timedelta(hours=1)
    site.acts.do(device.device_id, "revoke", site.act(renewed, "revoke"))
    assert site.states(device) == ["revoked", "revoked"]
    site.now += timedelta(hours=1)
    site.repinned(renewed, third, was="revoked")
    assert site.states(device) == ["revoked", "revoked", "active"]
    last = Device(key=third, device_id=device.device_id, job=device.job)
    site.acts.do(device.device_id, "scrap", site.act(last, "scrap"))
    assert site.states(device) == ["revoked", "revoked", "scrapped"]
    found = site.acts.do(device.device_id, "unscrap", site.act(last, "unscrap", was="scrapped"))
    assert [each.state for each in found.keys] == ["revoked", "revoked", "active"]
    assert [each.act.kind for each in found.deeds] == ["repin", "revoke", "repin", "scrap", "unscrap"]
    assert found.state == "active"


def test_scrap_of_what_was_never_finished_takes_one_approver_and_is_final(site: Living) -> None:
    device = site.device(active=False)
    assert (
        refused(site, device, site.act(device, "scrap", WHO["ada"], was="provisional"), "scrap")
        is Code.ACT_NOT_APPROVED
    )
    found = site.acts.do(
        device.device_id, "scrap", site.act(device, "scrap", WHO["quinn"], was="provisional"), confirmed
    )
    assert (found.state, [each.state for each in found.keys]) == ("scrapped", ["scrapped"])
    envelope = found.deeds[0].revocation
    assert envelope is not None
    said = revoked(site.made.trusted, envelope)
    assert (said.cause, said.device_id, said.job) == ("scrapped", str(device.device_id), str(device.job))
    assert refused(site, device, site.act(device, "unscrap", was="scrapped"), "unscrap") is Code.DEVICE_SCRAPPED


def test_one_approver_does_not_scrap_an_active_device_by_calling_it_otherwise(site: Living) -> None:
    device = site.device()
    assert refused(site, device, site.act(device, "scrap", WHO["quinn"]), "scrap") is Code.ACT_NOT_APPROVED
    lie = site.act(device, "scrap", WHO["quinn"], was="provisional")
    assert refused(site, device, lie, "scrap") is Code.ACT_CONFLICT


@pytest.mark.parametrize("kind", ["revoke", "scrap", "unscrap"])
@pytest.mark.parametrize("who", [("pia",), ("quinn",), ("ada", "ben"), ("pia", "ada")])
def test_two_people_of_the_right_roles(site: Living, kind: str, who: tuple[str, ...]) -> None:
    device = site.device()
    if kind == "unscrap":
        site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    was = "scrapped" if kind == "unscrap" else "active"
    act = site.act(device, kind, *(WHO[each] for each in who), was=was)
    assert refused(site, device, act, kind) is Code.ACT_NOT_APPROVED


def test_one_approver_twice_is_one(site: Living) -> None:
    device = site.device()
    once = site.act(device, "revoke", WHO["pia"])
    for twice in (once.signatures * 2, (*once.signatures, msgspec.structs.replace(once.signatures[0], keyid="f" * 64))):
        assert refused(site, device, msgspec.structs.replace(once, signatures=twice), "revoke") is Code.ACT_NOT_APPROVED


def test_an_act_is_done_once(site: Living) -> None:
    device = site.device()
    scrap = site.act(device, "scrap")
    site.acts.do(device.device_id, "scrap", scrap)
    site.acts.do(device.device_id, "unscrap", site.act(device, "unscrap", was="scrapped"))
    assert refused(site, device, scrap, "scrap") is Code.ACT_USED
    resigned = msgspec.structs.replace(site.act(device, "scrap"), payload=scrap.payload, signatures=())
    again = [each.signature(resigned) for each in TWO]
    fresh = msgspec.structs.replace(resigned, signatures=tuple(sorted(again, key=lambda each: each.keyid)))
    assert refused(site, device, fresh, "scrap") is Code.ACT_USED


def test_an_act_is_for_one_device_one_key_one_time_and_one_route(site: Living) -> None:
    device, other = site.device(), site.device()
    act = site.act(device, "revoke")
    assert refused(site, other, act, "revoke") is Code.STATEMENT_INVALID
    assert refused(site, device, act, "scrap") is Code.STATEMENT_INVALID
    wrong_key = site.act(device, "revoke", fingerprint=public(other.key).fingerprint)
    assert refused(site, device, wrong_key, "revoke") is Code.ACT_CONFLICT
    site.now += timedelta(days=7, seconds=1)
    assert refused(site, device, act, "revoke") is Code.ACT_EXPIRED


def test_a_scrapped_device_is_never_completed(site: Living) -> None:
    device = site.device(active=False)
    record = site.pins.find(device.device_id)
    assert record is not None
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap", WHO["pia"], was="provisional"), confirmed)
    done = site.made.completion(device, record.pin.statement, record.pin.receipt)
    with pytest.raises(RefusedError) as caught:
        site.pins.complete(device.device_id, done)
    assert caught.value.code is Code.DEVICE_SCRAPPED
    assert site.states(device) == ["scrapped"]


def test_scrap_frees_a_place_in_the_order_once(site: Living) -> None:
    site.made = site.made.with_order(quantity=2, stations=("station-01",), allowance=3)
    device, _ = site.device(), site.device()
    with pytest.raises(RefusedError) as caught:
        site.device()
    assert caught.value.code is Code.ORDER_EXHAUSTED
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    site.device()
    site.acts.do(device.device_id, "unscrap", site.act(device, "unscrap", was="scrapped"))
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    with pytest.raises(RefusedError):
        site.device()


# ---- new keys


def test_a_re_pin_needs_the_new_keys_own_proof_over_our_challenge(site: Living) -> None:
    device, new, other = site.device(), ec_key(), ec_key()
    act = site.repin_act(device, new)
    good = site.shown(device, act, new)
    stranger = site.shown(device, act, other, challenge=good.challenge)
    for broken, code in [
        ({"signatures": stranger.signatures}, Code.PROOF_INVALID),
        ({"signatures": good.signatures[:1] * 2, "challenge": bytes(32)}, Code.CHALLENGE_UNKNOWN),
        ({"challenge": site.acts.challenge(device.device_id)[0]}, Code.PROOF_INVALID),
        ({"challenge": site.acts.challenge(site.device().device_id)[0]}, Code.CHALLENGE_UNKNOWN),
        ({"spki": public(other).spki}, Code.PROOF_INVALID),
        ({"spki": b"no key"}, Code.STATEMENT_INVALID),
        ({"authorisation": act}, Code.PROOF_INVALID),
    ]:
        made = {name: getattr(good, name) for name in good.__slots__} | broken
        assert refused_repin(site, device, act, type(good)(**made)) is code, broken
    assert refused_repin(site, device, act, stranger) is Code.STATEMENT_INVALID  # another key than was approved
    site.now += timedelta(hours=1)
    assert refused_repin(site, device, act, good) is Code.CHALLENGE_UNKNOWN
    site.acts.repin(device.device_id, act, site.shown(device, act, new))


def test_a_challenge_is_used_once(site: Living) -> None:
    device, new, newer = site.device(), ec_key(), ec_key()
    act = site.repin_act(device, new)
    shown = site.shown(device, act, new)
    site.acts.repin(device.device_id, act, shown)
    renewed = Device(key=new, device_id=device.device_id, job=device.job)
    again = site.repin_act(renewed, newer)
    used = site.shown(renewed, again, newer, challenge=shown.challenge)
    assert refused_repin(site, device, again, used) is Code.ACT_CONFLICT


def test_the_order_bounds_how_long_the_old_key_is_good(site: Living) -> None:
    device, new = site.device(), ec_key()
    act = site.repin_act(device, new, ends_at=utc(NOW + timedelta(days=31)))
    assert refused_repin(site, device, act, site.shown(device, act, new)) is Code.ORDER_REFUSES


def test_one_expiring_key_at_most(site: Living) -> None:
    device, new, newer = site.device(), ec_key(), ec_key()
    site.repinned(device, new, ends_at=ENDS)
    renewed = Device(key=new, device_id=device.device_id, job=device.job)
    act = site.repin_act(renewed, newer, ends_at=utc(NOW + timedelta(days=8)))
    assert refused_repin(site, device, act, site.shown(renewed, act, newer)) is Code.ACT_CONFLICT
    old = site.act(renewed, "revoke", fingerprint=public(device.key).fingerprint)
    site.acts.do(device.device_id, "revoke", old)
    site.acts.repin(device.device_id, act, site.shown(renewed, act, newer))
    assert site.states(device) == ["revoked", "expiring", "active"]


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
def test_a_key_has_one_device_in_all_its_history(database: Database, kind: str) -> None:
    site = living(database, key_type=kind)
    keys: list[PrivateKey] = [ec_key() if kind == "ec-p256" else rsa_key(number) for number in range(4)]
    device, other = site.device(key=keys[0]), site.device(key=keys[1])
    site.repinned(device, keys[2])
    renewed = Device(key=keys[2], device_id=device.device_id, job=device.job)
    for theirs, whose in ((keys[2], other), (keys[0], other), (keys[1], renewed)):
        act = site.repin_act(whose, theirs)
        assert refused_repin(site, whose, act, site.shown(whose, act, theirs)) is Code.KEY_ON_OTHER_DEVICE
    own = site.repin_act(renewed, keys[0])
    assert refused_repin(site, renewed, own, site.shown(renewed, own, keys[0])) is Code.PROOF_INVALID
    with pytest.raises(RefusedError) as caught:
        site.device(key=keys[2])  # a first pin of a key that was re-pinned
    assert caught.value.code is Code.KEY_ON_OTHER_DEVICE
    assert caught.value.stored is not None
    assert caught.value.stored.device == device.device_id


def test_another_kind_of_key_than_the_orders(site: Living) -> None:
    device, new = site.device(), rsa_key(0)
    act = site.repin_act(device, new)
    assert refused_repin(site, device, act, site.shown(device, act, new)) is Code.PROOF_INVALID


# ---- re-key of a locked device


def test_a_re_keyed_device_vouches_for_its_new_key_with_the_old_one(site: Living) -> None:
    device, new = site.device(), ec_key()
    act = site.act(device, "rekey", ends_at=ENDS)
    found = site.acts.repin(device.device_id, act, site.shown(device, act, new, leave=site.leave(act), old=True))
    assert [each.state for each in found.keys] == ["expiring", "active"]
    site.now += timedelta(days=8)
    assert site.states(device) == ["ended", "active"]


def test_nothing_else_makes_a_re_key_a_pin(site: Living) -> None:
    device, other, new = site.device(), site.device(), ec_key()
    act, theirs = site.act(device, "rekey"), site.act(other, "rekey")
    leave = site.leave(act)
    fingerprint = public(new).fingerprint
    for name, shown in {
        "the old key says nothing": site.shown(device, act, new, leave=leave),
        "no leave": site.shown(device, act, new, old=True),
        "another act's leave": site.shown(device, act, new, leave=site.leave(theirs), old=True),
        "signed by another key": site.shown(device, act, new, leave=_other_key(site, act), old=True),
        "a step that makes no key": site.shown(
            device, act, new, leave=site.leave(act, Step.ABANDON, new_fingerprint=fingerprint), old=True
        ),
        "for another new key": site.shown(
            device, act, new, leave=site.leave(act, Step.COMMIT, new_fingerprint="12" * 32), old=True
        ),
        "another old key": site.shown(Device(ec_key(), device.device_id), act, new, leave=leave, old=True),
    }.items():
        assert refused_repin(site, device, act, shown) is Code.PROOF_INVALID, name
    unlock = site.act(device, "rekey", change="unlock", key_type="")
    with pytest.raises(RefusedError):
        site.acts.repin(device.device_id, unlock, site.shown(device, unlock, new, old=True))
    site.acts.repin(device.device_id, act, site.shown(device, act, new, leave=leave, old=True))


def _other_key(site: Living, act: Envelope) -> Envelope:
    from trust.rekey import Authorisation

    return site.leave_of(Authorisation.parse(site.leave(act).payload), ec_key())


# ---- years later


def test_what_was_approved_stays_so_when_an_approver_leaves_and_nothing_new_is(site: Living) -> None:
    device, new = site.device(), ec_key()
    early = site.act(device, "revoke")
    site.repinned(device, new, ends_at=ENDS)
    before = site.read(device)
    first, nora = site.made.trusted.root, person("nora", "product-owner")
    who = {name: each for name, each in WHO.items() if name != "pia"} | {"nora": nora}
    line = approved_by(wrap(first), WHO["ada"], WHO["ben"])
    following = approved_by(wrap(next_root(first, line, approvers=approvers(who.values()))), WHO["ada"], WHO["ben"])
    site.made = replace(site.made, trusted=parse(file_of(line, following)))
    site.signer.trusted = site.made.trusted
    assert site.read(device) == before
    renewed = Device(key=new, device_id=device.device_id, job=device.job)
    assert refused(site, device, early, "revoke") is Code.ACT_NOT_APPROVED
    assert refused(site, device, site.act(renewed, "revoke"), "revoke") is Code.ACT_NOT_APPROVED
    by_nora = site.act(renewed, "revoke", nora, WHO["quinn"])
    assert site.acts.do(device.device_id, "revoke", by_nora).state == "revoked"


# ---- the database decides


def test_of_many_acts_at_once_one_is_done(site: Living) -> None:
    device = site.device()
    keys = [ec_key() for _ in range(8)]
    acts = [site.repin_act(device, each, ends_at=ENDS) for each in keys]
    shown = [site.shown(device, act, key) for act, key in zip(acts, keys, strict=True)]
    works = [partial(site.acts.repin, device.device_id, *each) for each in zip(acts, shown, strict=True)]
    ended = raced(*works)
    assert sorted(ended) == [*[Code.ACT_CONFLICT] * 7, "done"]
    assert site.states(device) == ["expiring", "active"]


def raced(*works: Callable[[], object]) -> list[str]:
    """How each ended: "done", or with which code."""
    gate, ended = threading.Barrier(len(works)), [""] * len(works)

    def run(place: int) -> None:
        gate.wait()
        try:
            works[place]()
            ended[place] = "done"
        except RefusedError as error:
            ended[place] = error.code

    threads = [threading.Thread(target=run, args=(each,)) for each in range(len(works))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return ended


def test_of_a_first_pin_and_a_later_one_of_the_same_key_one_is_made(site: Living) -> None:
    for _ in range(8):
        device, new = site.device(), ec_key()
        act = site.repin_act(device, new)
        shown = site.shown(device, act, new)
        other = Device(key=new)
        pin = site.made.pin(other, order_signed=True, made_at=utc(NOW))
        ended = raced(
            partial(site.acts.repin, device.device_id, act, shown),
            partial(site.pins.pin, other.device_id, pin, site.order),
        )
        assert sorted(ended) == ["done", Code.KEY_ON_OTHER_DEVICE]


def test_of_a_completion_and_a_scrap_by_one_person_one_is_done(site: Living) -> None:
    for _ in range(8):
        device = site.device(active=False)
        record = site.pins.find(device.device_id)
        assert record is not None
        done = site.made.completion(device, record.pin.statement, record.pin.receipt)
        act = site.act(device, "scrap", WHO["pia"], was="provisional")
        ended = raced(
            partial(site.pins.complete, device.device_id, done),
            partial(site.acts.do, device.device_id, "scrap", act, confirmed),
        )
        assert ended in (["done", Code.ACT_CONFLICT], [Code.DEVICE_SCRAPPED, "done"])
        assert site.read(device).state == ("active" if ended[0] == "done" else "scrapped")


@pytest.mark.parametrize(
    ("was", "number"),
    [("provisional", 1), ("scrapped", 1), ("active", 2), ("active", 3), ("revoked", 2)],
)
def test_an_act_that_does_not_follow_is_refused_by_the_database_itself(site: Living, was: Any, number: int) -> None:
    device = site.device()
    if number > 1:
        site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    key = public(device.key).fingerprint
    made = NewAct(
        device_id=str(device.device_id), number=number, kind="revoke", act=site.act(device, "revoke", was=was),
        was=Life(was, key), life=Life("revoked", key), at=utc(NOW),
    )  # fmt: skip
    with pytest.raises(IntegrityError), site.database.write() as connection:
        acts_store.insert_act(connection, made)


def test_the_role_that_serves_may_do_all_of_it(postgres: Server) -> None:
    """It may only read and insert: the triggers wait for others as the tables' owner."""
    name = postgres.migrated()
    postgres.sql(f"CREATE ROLE serving_{name} LOGIN")
    owner, serving = Database.open(postgres.url(name)), Database.open(postgres.url(name, f"serving_{name}"))
    grant(owner, f"serving_{name}")
    site = living(serving)
    device = site.device()
    assert [each.state for each in site.repinned(device, ec_key(), ends_at=ENDS).keys] == ["expiring", "active"]
    owner.close()
    serving.close()


# ---- a signer that is away


def test_what_is_due_is_signed_when_the_signer_is_back(site: Living) -> None:
    device = site.device()
    site.signer.fault = SignerUnavailableError("away")
    with pytest.raises(ReceiptUnavailableError):
        site.acts.do(device.device_id, "revoke", site.act(device, "revoke"))
    with pytest.raises(ReceiptUnavailableError):
        site.acts.find(device.device_id)
    site.signer.fault = None
    found = site.acts.find(device.device_id)
    assert found is not None
    assert found.state == "revoked"
    assert found == site.read(device)
