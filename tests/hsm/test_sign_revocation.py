"""The cloud signer revokes what an approved act wants, and nothing that only the registry wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.local_signer import CloudVerbs, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from tests.trust.people import approvers, people
from tests.trust.pin_acts import NOW, approved, pin_act, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.revocation import Revocation, revoked
from trust.root import TrustedRoot
from trust.root_file import parse, wrap

WHO = people()
DEVICE, KEY = "a1" * 12, "01" * 32


@pytest.fixture
def token(tmp_path: Path) -> SoftwareToken:
    return SoftwareToken.make(tmp_path / "cloud", "cloud", rsa_keys=False)


@pytest.fixture
def trusted(tmp_path: Path, token: SoftwareToken) -> TrustedRoot:
    plain = make_root({"st-01": SoftwareToken.make(tmp_path / "factory", "factory")}, "reg-01", token).root
    keys = msgspec.structs.replace(plain.registry_keys, revocation=token.public_key("revocation"))
    named = msgspec.structs.replace(plain, registry_keys=keys, approvers=approvers(WHO.values()))
    return parse(wrap(named).to_json())


@pytest.fixture
def cloud(tmp_path: Path, token: SoftwareToken, trusted: TrustedRoot) -> CloudVerbs:
    return make_registry(tmp_path / "cloud", "reg-01", trusted, token, NOW.timestamp)


def wanted(trusted: TrustedRoot, act: Envelope, **changes: Any) -> Revocation:
    said = Revocation(
        environment="demo", root_sha256=trusted.sha256, registry="reg-01", order_id="order-1", job="5a" * 16,
        device_id=DEVICE, fingerprint=KEY, cause="revoked", act_sha256=act.payload_sha256, reason="for a test",
        revoked_at=utc(NOW),
    )  # fmt: skip
    return msgspec.structs.replace(said, **changes)


def act(trusted: TrustedRoot, *who: str, kind: str = "revoke", **changes: Any) -> Envelope:
    return approved(pin_act(trusted, DEVICE, KEY, kind, **changes), *(WHO[each] for each in who or ("pia", "quinn")))


def refused(cloud: CloudVerbs, made: Revocation, by: Envelope) -> Code:
    with pytest.raises(SignerError) as caught:
        cloud.sign_revocation(made, by)
    assert "revocation" not in cloud.status().signatures
    return caught.value.code


@pytest.mark.parametrize(("kind", "cause"), [("revoke", "revoked"), ("scrap", "scrapped")])
def test_what_two_people_want_is_signed_once(cloud: CloudVerbs, trusted: TrustedRoot, kind: str, cause: str) -> None:
    by = act(trusted, kind=kind)
    made = wanted(trusted, by, cause=cause)
    first = cloud.sign_revocation(made, by)
    assert revoked(trusted, first) == made
    assert cloud.sign_revocation(made, by) == first
    assert cloud.status().signatures["revocation"] == 1


@pytest.mark.parametrize("who", [("pia",), ("quinn",), ("ada", "ben"), ("pia", "ada")])
def test_too_few_people_or_others(cloud: CloudVerbs, trusted: TrustedRoot, who: tuple[str, ...]) -> None:
    for kind, cause in (("revoke", "revoked"), ("scrap", "scrapped")):
        by = act(trusted, *who, kind=kind)
        assert refused(cloud, wanted(trusted, by, cause=cause), by) is Code.ACT_NOT_APPROVED


def test_one_approver_twice_is_one(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    once = act(trusted, "pia")
    twice = msgspec.structs.replace(once, signatures=once.signatures * 2)
    assert refused(cloud, wanted(trusted, twice), twice) is Code.ACT_NOT_APPROVED


def test_one_person_will_do_for_what_was_never_finished(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    by = act(trusted, "quinn", kind="scrap", was="provisional")
    assert revoked(trusted, cloud.sign_revocation(wanted(trusted, by, cause="scrapped"), by)).cause == "scrapped"
    nobody = act(trusted, "ada", kind="scrap", was="provisional")
    with pytest.raises(SignerError):
        cloud.sign_revocation(wanted(trusted, nobody, cause="scrapped"), nobody)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"environment": "plant-1"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "ab" * 32}, Code.WRONG_ROOT),
        ({"registry": "reg-02"}, Code.NOT_AUTHORISED),
        ({"device_id": "b2" * 12}, Code.STATEMENT_INVALID),
        ({"fingerprint": "02" * 32}, Code.STATEMENT_INVALID),
        ({"cause": "scrapped"}, Code.STATEMENT_INVALID),
        ({"act_sha256": "cc" * 32}, Code.STATEMENT_INVALID),
        ({"reason": "other than approved"}, Code.STATEMENT_INVALID),
        ({"revoked_at": "2026-12-08T12:00:01Z"}, Code.ACT_EXPIRED),
        ({"revoked_at": "2026-11-30T12:00:00Z"}, Code.ACT_EXPIRED),
    ],
)
def test_it_says_what_the_act_says(
    cloud: CloudVerbs, trusted: TrustedRoot, changes: dict[str, Any], code: Code
) -> None:
    by = act(trusted)
    assert refused(cloud, wanted(trusted, by, **changes), by) is code


def test_other_acts_revoke_nothing(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    by = act(trusted, kind="unscrap", was="scrapped")
    assert refused(cloud, wanted(trusted, by), by) is Code.STATEMENT_INVALID


def test_control_a_signer_that_asks_nobody_signs_it(
    cloud: CloudVerbs, trusted: TrustedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trust.pin_act._require_people", lambda *_: None)
    by = act(trusted, "pia")
    cloud.sign_revocation(wanted(trusted, by), by)
