"""Acts on pins: who must approve them, how long they are good, and what each kind must say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.trust.people import Person, approved_by, people, person, signed_root
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.pin_act import PinAct, allowed, body, worth_approving
from trust.root import CloudKeys, Thresholds
from trust.statement import envelope

WHO = people()
ROOT = signed_root(WHO, cloud_keys=CloudKeys())
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ACT = PinAct(
    environment="plant-a", root_sha256=ROOT.sha256, kind="rekey", reason="key of a stolen unit", device_id="a1" * 12,
    fingerprint="cd" * 32, change="new-key", key_type="ec-p256", nonce="00" * 32, made_at="2026-12-01T11:00:00Z",
    not_after="2026-12-08T11:00:00Z",
)  # fmt: skip


def made(*who: str | Person, **changes: Any) -> Envelope:
    those = (WHO[each] if isinstance(each, str) else each for each in who)
    return approved_by(envelope(msgspec.structs.replace(ACT, **changes)), *those)


def refusal(document: Envelope, now: datetime = NOW, root: Any = ROOT) -> Code:
    with pytest.raises(ActRefusedError) as caught:
        allowed(document, root, now)
    return caught.value.code


def test_product_owner_and_quality_together() -> None:
    assert allowed(made("pia", "quinn"), ROOT, NOW) == ACT


@pytest.mark.parametrize("who", [(), ("pia",), ("quinn",), ("ada", "ben"), ("pia", "ada"), ("pia", "quinn", "ada")])
def test_nobody_else_is_enough(who: tuple[str, ...]) -> None:
    assert refusal(made(*who)) is Code.ACT_NOT_APPROVED


def test_one_person_is_not_two_with_two_roles_or_two_keys() -> None:
    both = person("otto", "product-owner", "quality")
    with_otto = signed_root({**WHO, "otto": both}, cloud_keys=CloudKeys())
    document = made(both, root_sha256=with_otto.sha256)
    assert refusal(document, root=with_otto) is Code.ACT_NOT_APPROVED
    twice = msgspec.structs.replace(document, signatures=document.signatures * 2)
    assert refusal(twice, root=with_otto) is Code.ACT_NOT_APPROVED


def test_a_stranger_spoils_it() -> None:
    assert refusal(made("pia", "quinn", person("otto", "quality"))) is Code.ACT_NOT_APPROVED


def test_the_roots_threshold_counts() -> None:
    otto = person("otto", "quality")
    three = signed_root({**WHO, "otto": otto}, cloud_keys=CloudKeys(), thresholds=Thresholds(act=3))
    assert refusal(made("pia", "quinn", root_sha256=three.sha256), root=three) is Code.ACT_NOT_APPROVED
    assert allowed(made("pia", "quinn", otto, root_sha256=three.sha256), three, NOW).kind == "rekey"


def test_signatures_are_over_these_bytes() -> None:
    other = msgspec.structs.replace(made("pia", "quinn"), payload=made(device_id="b2" * 12).payload)
    assert refusal(other) is Code.ACT_NOT_APPROVED


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (datetime(2026, 12, 8, 11, 0, 0, tzinfo=UTC), None),
        (datetime(2026, 12, 8, 11, 0, 1, tzinfo=UTC), Code.ACT_EXPIRED),
        (datetime(2026, 12, 1, 10, 55, tzinfo=UTC), None),
        (datetime(2026, 12, 1, 10, 54, tzinfo=UTC), Code.ACT_EXPIRED),
    ],
)
def test_its_time(now: datetime, code: Code | None) -> None:
    if code is None:
        assert allowed(made("pia", "quinn"), ROOT, now) == ACT
    else:
        assert refusal(made("pia", "quinn"), now) is code


def test_another_environment_or_root() -> None:
    assert refusal(made("pia", "quinn", environment="plant-b")) is Code.WRONG_ENVIRONMENT
    assert refusal(made("pia", "quinn", root_sha256="99" * 32)) is Code.WRONG_ROOT


@pytest.mark.parametrize(
    "changes",
    [
        {"change": ""},
        {"key_type": ""},
        {"anchor_sha256": "ee" * 32},
        {"change": "new-anchor", "key_type": ""},
        {"change": "new-anchor", "anchor_sha256": "ee" * 32},
        {"change": "unlock"},
        {"not_after": ACT.made_at},
        {"not_after": "2026-12-31T11:00:01Z"},
        {"made_at": "2026-13-01T11:00:00Z"},
        {"change": "burn"},
        {"reason": "short"},
        {"device_id": "A1" * 12},
    ],
)
def test_what_an_act_must_say(changes: dict[str, Any]) -> None:
    document = made("pia", "quinn", **changes)
    with pytest.raises(ActRefusedError) as caught:
        worth_approving(document, ROOT, NOW)
    assert caught.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize(
    "changes",
    [{"change": "new-anchor", "key_type": "", "anchor_sha256": "ee" * 32}, {"change": "unlock", "key_type": ""}],
)
def test_the_other_changes(changes: dict[str, Any]) -> None:
    assert body(made(**changes)).change == changes["change"]
