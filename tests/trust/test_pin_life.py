"""What an act makes of a device's pins: every state with every kind, and what an act must know of the device."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.trust.documents import root
from tests.trust.orders import make
from tests.trust.pin_acts import NOW, pin_act, utc
from trust.codes import Code
from trust.pin_act import PinAct
from trust.pin_life import Expiring, Life, LifeError, after, begun, completed
from trust.root import TrustedRoot

TRUSTED = TrustedRoot(root(), "ab" * 32)
ORDER = make("ab" * 32, ["st-01"], "5f" * 32, overlap_days=30)
DEVICE, OLD, NEW, OLDER = "a1" * 12, "01" * 32, "02" * 32, "00" * 32
ENDS = utc(NOW + timedelta(days=30))
ACTIVE = Life("active", OLD)
LIVES = {
    "provisional": begun(OLD),
    "active": ACTIVE,
    "revoked": Life("revoked", OLD),
    "scrapped": Life("scrapped", OLD, before=ACTIVE),
}
AFTER = {
    ("active", "repin"): Life("active", NEW),
    ("revoked", "repin"): Life("active", NEW),
    ("active", "revoke"): Life("revoked", OLD),
    ("provisional", "scrap"): Life("scrapped", OLD, before=begun(OLD)),
    ("active", "scrap"): Life("scrapped", OLD, before=ACTIVE),
    ("revoked", "scrap"): Life("scrapped", OLD, before=Life("revoked", OLD)),
    ("scrapped", "unscrap"): ACTIVE,
}


def act(kind: str, **changes: Any) -> PinAct:
    more = {"new_fingerprint": NEW} if kind == "repin" else {}
    return pin_act(TRUSTED, DEVICE, OLD, kind, **{**more, **changes})


def then(life: Life, made: PinAct, **changes: Any) -> Life:
    new = NEW if made.kind in {"repin", "rekey"} else ""
    return after(life, made, **{"order": ORDER, "at": NOW, "new_fingerprint": new, **changes})


def refused(life: Life, made: PinAct, **changes: Any) -> Code:
    with pytest.raises(LifeError) as caught:
        then(life, made, **changes)
    return caught.value.code


@pytest.mark.parametrize("kind", ["repin", "revoke", "scrap", "unscrap"])
@pytest.mark.parametrize("state", LIVES)
def test_every_state_with_every_act(state: str, kind: str) -> None:
    wanted = AFTER.get((state, kind))
    if wanted is None:
        assert refused(LIVES[state], act(kind, was=state)) is Code.ACT_CONFLICT
    else:
        assert then(LIVES[state], act(kind, was=state)) == wanted


@pytest.mark.parametrize("kind", ["repin", "revoke", "scrap", "unscrap"])
@pytest.mark.parametrize("state", LIVES)
def test_an_act_for_another_state_or_key_is_void(state: str, kind: str) -> None:
    for other in set(LIVES) - {state}:
        assert refused(LIVES[state], act(kind, was=other)) is Code.ACT_CONFLICT
    assert refused(LIVES[state], act(kind, was=state, fingerprint=OLDER)) is Code.ACT_CONFLICT


def test_the_old_key_stays_good_as_long_as_act_and_order_let_it() -> None:
    assert then(ACTIVE, act("repin", ends_at=ENDS)) == Life("active", NEW, expiring=Expiring(OLD, ENDS))
    late = utc(NOW + timedelta(days=30, seconds=1))
    assert refused(ACTIVE, act("repin", ends_at=late)) is Code.ORDER_REFUSES
    assert refused(ACTIVE, act("repin", ends_at=utc(NOW))) is Code.ORDER_REFUSES


def test_a_revoked_key_does_not_come_back_as_an_expiring_one() -> None:
    assert then(LIVES["revoked"], act("repin", was="revoked", ends_at=ENDS)) == Life("active", NEW)


def test_one_expiring_key_at_most() -> None:
    renewed = Life("active", OLD, expiring=Expiring(OLDER, utc(NOW + timedelta(seconds=1))))
    assert refused(renewed, act("repin")) is Code.ACT_CONFLICT
    assert then(renewed, act("repin"), at=NOW + timedelta(seconds=1)) == Life("active", NEW)


def test_an_expiring_key_is_revoked_by_itself() -> None:
    renewed = Life("active", OLD, expiring=Expiring(OLDER, ENDS))
    assert then(renewed, act("revoke", fingerprint=OLDER)) == ACTIVE
    assert then(renewed, act("revoke")) == Life("revoked", OLD)


def test_a_device_is_what_it_was_before_its_scrap() -> None:
    renewed = Life("active", OLD, expiring=Expiring(OLDER, ENDS))
    assert then(then(renewed, act("scrap")), act("unscrap", was="scrapped")) == renewed


def test_what_was_never_finished_stays_scrapped() -> None:
    burned = then(begun(OLD), act("scrap", was="provisional"))
    assert refused(burned, act("unscrap", was="scrapped")) is Code.DEVICE_SCRAPPED
    with pytest.raises(LifeError):
        completed(burned)


def test_the_key_that_was_proved_is_the_one_that_was_approved() -> None:
    assert refused(ACTIVE, act("repin"), new_fingerprint=OLDER) is Code.STATEMENT_INVALID
    assert refused(ACTIVE, act("repin"), new_fingerprint="") is Code.STATEMENT_INVALID


def test_a_re_key_pins_the_key_that_the_device_made_and_nothing_else_of_it_does() -> None:
    made = act("rekey", change="new-key", key_type="ec-p256", ends_at=ENDS)
    assert then(ACTIVE, made) == Life("active", NEW, expiring=Expiring(OLD, ENDS))
    assert refused(begun(OLD), made) is Code.ACT_CONFLICT
    assert refused(ACTIVE, act("rekey", change="unlock")) is Code.STATEMENT_INVALID
