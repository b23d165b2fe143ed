"""The cloud signer authorises a step of what two people want done to one device, over its nonce, while their act is good."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.client import ReceiptClient
from hsm.signer import AuthorisationRequest, SignerError
from tests.hsm.local_signer import CloudVerbs, make_registry, make_root
from tests.hsm.served import served
from tests.hsm.software_token import SoftwareToken
from tests.trust.people import approvers, people
from tests.trust.pin_acts import NOW, approved, pin_act, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.rekey import Step, authorised
from trust.root import CloudKeys, TrustedRoot
from trust.root_file import parse, wrap

WHO = people()
DEVICE, KEY, NEW, NONCE = "a1" * 12, "01" * 32, "02" * 32, "5a" * 32


@pytest.fixture
def token(tmp_path: Path) -> SoftwareToken:
    return SoftwareToken.make(tmp_path / "cloud", "cloud", rsa_keys=False)


@pytest.fixture
def trusted(tmp_path: Path, token: SoftwareToken) -> TrustedRoot:
    return rooted(tmp_path, token, (token.public_key("authority"),))


def rooted(place: Path, token: SoftwareToken, authority: tuple[bytes, ...]) -> TrustedRoot:
    plain = make_root({"st-01": SoftwareToken.make(place / "factory", "factory")}, "reg-01", token).root
    named = msgspec.structs.replace(plain, cloud_keys=CloudKeys(authority=authority), approvers=approvers(WHO.values()))
    return parse(wrap(named).to_json())


@pytest.fixture
def clock() -> list[float]:
    return [NOW.timestamp()]


@pytest.fixture
def cloud(tmp_path: Path, token: SoftwareToken, trusted: TrustedRoot, clock: list[float]) -> CloudVerbs:
    return make_registry(tmp_path / "cloud", "reg-01", trusted, token, lambda: clock[0])


def act(trusted: TrustedRoot, *who: str, **changes: Any) -> Envelope:
    said = {"change": "new-key", "key_type": "ec-p256", **changes}
    return approved(pin_act(trusted, DEVICE, KEY, "rekey", **said), *(WHO[each] for each in who or ("pia", "quinn")))


def request(by: Envelope, step: Step = Step.NEW_KEY, **changes: Any) -> AuthorisationRequest:
    return AuthorisationRequest(**{"act": by, "step": step, "nonce": NONCE, **changes})


def refused(cloud: CloudVerbs, asked: AuthorisationRequest) -> Code:
    with pytest.raises(SignerError) as caught:
        cloud.sign_authorisation(asked)
    assert "authority" not in cloud.status().signatures
    return caught.value.code


@pytest.mark.parametrize(
    ("step", "new"), [(Step.NEW_KEY, ""), (Step.COMMIT, NEW), (Step.END_OLD_KEY, NEW), (Step.ABANDON, NEW)]
)
def test_each_step_is_signed_once_by_the_authority_key(
    cloud: CloudVerbs, trusted: TrustedRoot, token: SoftwareToken, step: Step, new: str
) -> None:
    by = act(trusted)
    first = cloud.sign_authorisation(request(by, step, new_fingerprint=new))
    found = authorised(first, [PublicKey.from_der(token.public_key("authority"))])
    assert (found.step, str(found.device_id), found.nonce.hex()) == (step, DEVICE, NONCE)
    assert found.act_sha256 == hashlib.sha256(by.to_json()).hexdigest()
    assert {found.fingerprint, found.subject} == {KEY, new}
    assert cloud.sign_authorisation(request(by, step, new_fingerprint=new)) == first
    assert cloud.status().signatures["authority"] == 1
    cloud.sign_authorisation(request(by, step, new_fingerprint=new, nonce="00" * 32))
    assert cloud.status().signatures["authority"] == 2


def test_a_new_anchor_and_unlocking(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    anchored = act(trusted, change="new-anchor", key_type="", anchor_sha256="ab" * 32)
    assert b"\xab" * 32 in cloud.sign_authorisation(request(anchored, Step.NEW_ANCHOR)).payload
    unlock = act(trusted, change="unlock", key_type="")
    assert cloud.sign_authorisation(request(unlock, Step.UNLOCK)).payload[5] == 6


@pytest.mark.parametrize("who", [("pia",), ("quinn",), ("ada", "ben"), ("pia", "ada"), ("pia", "quinn", "ada")])
def test_too_few_people_or_others(cloud: CloudVerbs, trusted: TrustedRoot, who: tuple[str, ...]) -> None:
    assert refused(cloud, request(act(trusted, *who))) is Code.ACT_NOT_APPROVED


def test_one_approver_twice_is_one(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    once = act(trusted, "pia")
    twice = msgspec.structs.replace(once, signatures=once.signatures * 2)
    assert refused(cloud, request(twice)) is Code.ACT_NOT_APPROVED


def test_nothing_is_signed_once_the_act_is_over(cloud: CloudVerbs, trusted: TrustedRoot, clock: list[float]) -> None:
    by = act(trusted)
    clock[0] = (NOW + timedelta(days=7, seconds=1)).timestamp()
    assert refused(cloud, request(by)) is Code.ACT_EXPIRED
    clock[0] = (NOW - timedelta(hours=2)).timestamp()
    assert refused(cloud, request(by)) is Code.ACT_EXPIRED


def test_the_old_key_is_ended_at_its_end_and_for_a_while_after_the_act(
    cloud: CloudVerbs, trusted: TrustedRoot, clock: list[float]
) -> None:
    ends = NOW + timedelta(days=20)
    by = act(trusted, ends_at=utc(ends))
    assert refused(cloud, request(by, Step.END_OLD_KEY, new_fingerprint=NEW)) is Code.ACT_EXPIRED
    clock[0] = ends.timestamp()
    assert refused(cloud, request(by, Step.COMMIT, new_fingerprint=NEW)) is Code.ACT_EXPIRED
    cloud.sign_authorisation(request(by, Step.END_OLD_KEY, new_fingerprint=NEW))
    clock[0] = (ends + timedelta(days=30, seconds=1)).timestamp()
    with pytest.raises(SignerError, match="good until"):
        cloud.sign_authorisation(request(by, Step.END_OLD_KEY, new_fingerprint=NEW))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"environment": "plant-1"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "ab" * 32}, Code.WRONG_ROOT),
        ({"change": "unlock"}, Code.STATEMENT_INVALID),
        ({"change": "unlock", "key_type": ""}, Code.STATEMENT_INVALID),
    ],
)
def test_another_act(cloud: CloudVerbs, trusted: TrustedRoot, changes: dict[str, Any], code: Code) -> None:
    assert refused(cloud, request(act(trusted, **changes))) is code


@pytest.mark.parametrize("kind", ["revoke", "repin", "unscrap"])
def test_an_act_on_the_pin_alone_changes_no_device(cloud: CloudVerbs, trusted: TrustedRoot, kind: str) -> None:
    more = {"new_fingerprint": NEW} if kind == "repin" else {}
    by = approved(pin_act(trusted, DEVICE, KEY, kind, **more), WHO["pia"], WHO["quinn"])
    for step in Step:
        assert refused(cloud, request(by, step, new_fingerprint=NEW)) is Code.STATEMENT_INVALID


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (Step.NEW_KEY, {"new_fingerprint": NEW}),
        (Step.COMMIT, {}),
        (Step.COMMIT, {"new_fingerprint": KEY}),
        (Step.UNLOCK, {}),
    ],
)
def test_a_step_that_is_not_the_acts(
    cloud: CloudVerbs, trusted: TrustedRoot, step: Step, changes: dict[str, Any]
) -> None:
    assert refused(cloud, request(act(trusted), step, **changes)) is Code.STATEMENT_INVALID


def test_an_authority_key_that_the_root_does_not_name_signs_nothing(
    tmp_path: Path, token: SoftwareToken, clock: list[float]
) -> None:
    other = rooted(tmp_path, token, ())
    cloud = make_registry(tmp_path / "cloud", "reg-01", other, token, lambda: clock[0])
    assert refused(cloud, request(act(other))) is Code.NOT_AUTHORISED


def test_over_the_socket_too(cloud: CloudVerbs, trusted: TrustedRoot, short_dir: Path) -> None:
    by = act(trusted)

    async def main() -> None:
        async with served(cloud, short_dir / "cloud.sock"):
            client = ReceiptClient(short_dir / "cloud.sock")
            signed = await asyncio.to_thread(client.sign_authorisation, request(by))
            assert signed == cloud.sign_authorisation(request(by))
            with pytest.raises(SignerError, match="wanted"):
                await asyncio.to_thread(client.sign_authorisation, request(act(trusted, "pia")))
            client.close()

    asyncio.run(main())


def test_control_a_signer_that_asks_nobody_signs_it(
    cloud: CloudVerbs, trusted: TrustedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trust.pin_act._require_people", lambda *_: None)
    cloud.sign_authorisation(request(act(trusted, "pia")))
