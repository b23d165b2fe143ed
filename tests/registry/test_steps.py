"""The authority's word for a step of a re-key: only while the step is due, by what is pinned and by the clock."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from hsm.signer import AuthorisationRequest, SignerError, SignerUnavailableError
from registry.clock import stamp
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from tests.registry.living import WHO, Living, living
from tests.registry.make import Device, PrivateKey, ec_key, public
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.rekey import Step, authorised

ENDS = utc(NOW + timedelta(days=7))
NONCE = "5a" * 32


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


def ask(
    site: Living, device: Device, act: Envelope, step: Step, new: PrivateKey | None = None, nonce: str = NONCE
) -> Envelope:
    named = "" if new is None else public(new).fingerprint
    return site.acts.authorise(
        device.device_id, AuthorisationRequest(act=act, step=step, nonce=nonce, new_fingerprint=named)
    )


def refused(
    site: Living, device: Device, act: Envelope, step: Step, new: PrivateKey | None = None, said: str | None = None
) -> Code:
    signed = site.signer.signatures
    with pytest.raises(RefusedError, match=said) as caught:
        ask(site, device, act, step, new)
    assert site.signer.signatures == signed
    return caught.value.code


def repin(site: Living, device: Device, act: Envelope, new: PrivateKey, leave: Envelope) -> None:
    site.acts.repin(device.device_id, act, site.shown(device, act, new, leave=leave, old=True))


def test_each_step_in_its_time(site: Living) -> None:
    device, new = site.device(), ec_key()
    act = site.act(device, "rekey", ends_at=ENDS)
    for step in (Step.COMMIT, Step.END_OLD_KEY):
        assert refused(site, device, act, step, new, "not pinned by this act") is Code.ACT_CONFLICT
    leave = ask(site, device, act, Step.NEW_KEY)
    assert authorised(leave, [public(site.authority)]).step is Step.NEW_KEY
    ask(site, device, act, Step.ABANDON, ec_key())
    repin(site, device, act, new, leave)
    for step, about in ((Step.NEW_KEY, None), (Step.ABANDON, new)):
        assert refused(site, device, act, step, about, "is pinned with key") is Code.ACT_CONFLICT
    assert refused(site, device, act, Step.COMMIT, ec_key()) is Code.ACT_CONFLICT
    assert authorised(ask(site, device, act, Step.COMMIT, new), [public(site.authority)]).step is Step.COMMIT
    assert refused(site, device, act, Step.END_OLD_KEY, new, "is good until") is Code.ACT_CONFLICT
    site.now += timedelta(days=7)
    found = authorised(ask(site, device, act, Step.END_OLD_KEY, new), [public(site.authority)])
    assert (found.fingerprint, found.subject) == (public(new).fingerprint, public(device.key).fingerprint)


def test_without_an_overlap_the_old_key_is_ended_at_once(site: Living) -> None:
    device, new = site.device(), ec_key()
    act = site.act(device, "rekey")
    repin(site, device, act, new, ask(site, device, act, Step.NEW_KEY))
    ask(site, device, act, Step.COMMIT, new)
    ask(site, device, act, Step.END_OLD_KEY, new)


UNSEEN = pytest.mark.parametrize(
    ("change", "step"),
    [({"change": "unlock", "key_type": ""}, Step.UNLOCK),
     ({"change": "new-anchor", "key_type": "", "anchor_sha256": "ab" * 32}, Step.NEW_ANCHOR)],
)  # fmt: skip


def at(site: Living, minutes: float, device: Device, act: Envelope, step: Step) -> str:
    """Another word, over another nonce, so long after the first; its payload, or the code that refuses it."""
    site.now = NOW + timedelta(minutes=minutes)
    try:
        return ask(site, device, act, step, nonce=secrets.token_hex(32)).payload_sha256
    except RefusedError as error:
        return error.code.value


@UNSEEN
def test_an_act_that_no_pin_shows_has_its_word_once_and_a_while_for_lost_answers(
    site: Living, change: dict[str, Any], step: Step
) -> None:
    device = site.device()
    act = site.act(device, "rekey", **change)
    first = ask(site, device, act, step)
    again = [at(site, minutes, device, act, step) for minutes in (1, 60, 61, 1440, 6 * 1440)]
    assert again[2:] == ["act-used"] * 3, "the act is good for a week, and had its word"
    assert len({first.payload_sha256, *again[:2]}) == 3
    assert ask(site, device, act, step).payload == first.payload, "the very same request, whenever it is asked"
    words = site.read(device).words
    assert [(each.step, each.at, each.act) for each in words] == [
        (step, stamp(NOW + timedelta(minutes=minutes)), act) for minutes in (0, 1, 60)
    ]
    assert {each.envelope.payload_sha256 for each in words} == {first.payload_sha256, *again[:2]}
    site.now = NOW + timedelta(days=1)
    assert site.read(device).deeds == (), "pins are as they were"
    assert len(at(site, 1440, device, site.act(device, "rekey", **change), step)) == 64, "another act has its own"


def test_a_while_is_not_for_any_number_of_times(site: Living) -> None:
    device = site.device()
    act = site.act(device, "rekey", change="unlock", key_type="")
    got = [at(site, 0, device, act, Step.UNLOCK) for _ in range(12)]
    assert got[10:] == ["act-used"] * 2
    assert len(set(got[:10])) == 10


def test_control_without_the_record_the_act_works_until_it_ends(site: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust.rekey.UNSEEN", frozenset())
    device = site.device()
    act = site.act(device, "rekey", change="unlock", key_type="")
    got = {at(site, day * 1440, device, act, Step.UNLOCK) for day in range(7)}
    assert (len(got), "act-used" in got, site.read(device).words) == (7, False, ())


@pytest.mark.both_databases
def test_two_at_once_are_both_on_record_or_refused(site: Living) -> None:
    device = site.device()
    act = site.act(device, "rekey", change="unlock", key_type="")
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda _: at(site, 0, device, act, Step.UNLOCK), range(6)))
    given = {each for each in got if each != "act-conflict"}
    assert {each.envelope.payload_sha256 for each in site.read(device).words} == given
    assert given


def test_no_word_is_kept_that_a_reader_would_refuse(site: Living) -> None:
    """The signer's clock may be behind: the registry asks by its own, by which the record is read."""
    device = site.device()
    act = site.act(device, "rekey", change="unlock", key_type="")
    assert at(site, 7 * 1440 + 1, device, act, Step.UNLOCK) == "act-expired"
    few = site.act(device, "rekey", WHO["pia"], change="unlock", key_type="")
    assert at(site, 0, device, few, Step.UNLOCK) == "act-not-approved"
    assert site.read(device).words == ()


@UNSEEN
@pytest.mark.parametrize("active", [True, False])
def test_anchor_and_lock_need_the_pinned_key_only(
    site: Living, change: dict[str, Any], step: Step, *, active: bool
) -> None:
    device = site.device(active=active)
    ask(site, device, site.act(device, "rekey", **change), step)
    other = site.act(Device(device_id=device.device_id), "rekey", **change)
    assert refused(site, device, other, step, said="is pinned with key") is Code.ACT_CONFLICT


def test_who_is_not_finished_or_scrapped_gets_no_new_key(site: Living) -> None:
    unfinished, scrapped = site.device(active=False), site.device()
    assert refused(site, unfinished, site.act(unfinished, "rekey"), Step.NEW_KEY) is Code.ACT_CONFLICT
    site.acts.do(scrapped.device_id, "scrap", site.act(scrapped, "scrap"))
    for change in ({}, {"change": "unlock", "key_type": ""}):
        act = site.act(scrapped, "rekey", **change)
        step = Step.UNLOCK if change else Step.NEW_KEY
        assert refused(site, scrapped, act, step, said="scrapped") is Code.ACT_CONFLICT


def test_another_act_or_device(site: Living) -> None:
    device, other = site.device(), site.device()
    act = site.act(device, "rekey")
    assert refused(site, other, act, Step.NEW_KEY) is Code.STATEMENT_INVALID
    assert refused(site, device, site.act(device, "revoke"), Step.NEW_KEY) is Code.STATEMENT_INVALID
    assert refused(site, device, site.order, Step.NEW_KEY) is Code.STATEMENT_INVALID
    stranger = Device(device_id=DeviceId(b"nobody knows"))
    assert refused(site, stranger, site.act(stranger, "rekey"), Step.NEW_KEY) is Code.NOT_PINNED


def test_what_the_signer_refuses_is_refused_and_one_that_is_away_is_waited_for(site: Living) -> None:
    device = site.device()
    act = site.act(device, "rekey")
    site.signer.fault = SignerError(Code.ACT_NOT_APPROVED, "too few")
    assert refused(site, device, act, Step.NEW_KEY) is Code.ACT_NOT_APPROVED
    site.signer.fault = SignerUnavailableError("away")
    with pytest.raises(ReceiptUnavailableError):
        ask(site, device, act, Step.NEW_KEY)
    site.signer.fault, site.signer.authority_key = None, ec_key()
    with pytest.raises(ReceiptUnavailableError, match="not signed by an authority key"):
        ask(site, device, act, Step.NEW_KEY)
