"""From two people's approvals to another key in a locked device: act, cloud signer, device, for every kind of device."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures.device import Authorised, Device, KeyBeside, RefusalReason, RefusedError, StoredKey
from hsm.signer import AuthorisationRequest, SignerError
from tests.contract.nests import Nest
from tests.contract.parties import generated, key_done, udp_anchor
from tests.contract.test_contract import refusal
from tests.hsm.local_signer import CloudVerbs, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from tests.trust.people import Person, approvers, people
from tests.trust.pin_acts import NOW, approved, pin_act
from trust import rekey, repin
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.keys import KeyType, PublicKey
from trust.pin_act import PinAct
from trust.proof import proves
from trust.rekey import Step, authorised
from trust.root import CloudKeys, TrustedRoot
from trust.root_file import parse, wrap

pytestmark = pytest.mark.anyio
WHO = people()


@dataclass(slots=True)
class House:
    """A cloud signer, the root that names its authority key, and a clock."""

    cloud: CloudVerbs
    trusted: TrustedRoot
    authority: PublicKey
    clock: list[float] = field(default_factory=lambda: [NOW.timestamp()])

    def act(self, device: DeviceId, key: PublicKey, *who: Person) -> tuple[Envelope, PinAct]:
        made = pin_act(self.trusted, str(device), key.fingerprint, "rekey", change="new-key", key_type="ec-p256")
        return approved(made, *(who or (WHO["pia"], WHO["quinn"]))), made

    def word(self, act: Envelope, step: Step, nonce: bytes, new: PublicKey | None = None) -> Envelope:
        named = "" if new is None else new.fingerprint
        asked = AuthorisationRequest(act=act, step=step, nonce=nonce.hex(), new_fingerprint=named)
        return self.cloud.sign_authorisation(asked)

    async def step(self, device: Device, act: Envelope, step: Step, new: PublicKey | None = None) -> Envelope:
        signed = self.word(act, step, await device.rekey_nonce(), new)
        await device.rekey_step(Authorised(signed.payload, signed.signatures[0].sig))
        return signed

    async def locked(self, device: Device) -> StoredKey:
        stored, _ = await generated(device, KeyType.EC_P256, JobId.new())
        await device.write_anchor(dataclasses.replace(udp_anchor(), authority_key=self.authority))
        await device.lock(stored.job)
        return stored


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build(tmp_path, lambda authority: (authority,))


def build(place: Path, named: Callable[[bytes], tuple[bytes, ...]], **more: Any) -> House:
    token = SoftwareToken.make(place / "cloud", "cloud", rsa_keys=False)
    authority = token.public_key("authority")
    plain = make_root({"st-01": SoftwareToken.make(place / "factory", "factory")}, "reg-01", token).root
    keys = CloudKeys(authority=named(authority))
    root = msgspec.structs.replace(plain, cloud_keys=keys, approvers=approvers(WHO.values()), **more)
    trusted = parse(wrap(root).to_json())
    clock = [NOW.timestamp()]
    cloud = make_registry(place / "cloud", "reg-01", trusted, token, lambda: clock[0])
    return House(cloud, trusted, PublicKey.from_der(authority), clock)


async def test_from_two_approvals_to_the_end_of_the_old_key(nest: Nest, device: Device, house: House) -> None:
    old = await house.locked(device)
    act, body = house.act(nest.device_id, old.public_key)
    made_by = await house.step(device, act, Step.NEW_KEY)
    await key_done(device)
    beside = await device.key_beside()
    assert beside is not None
    new = beside.public_key
    assert rekey.problem(authorised(made_by, [house.authority]), act, body, NOW) is None
    challenge = repin.bound(
        secrets.token_bytes(32), act.payload_sha256, made_by.payload_sha256, new.fingerprint
    )  # what the registry asks the device to prove before it pins
    assert proves(new, nest.device_id, repin.NEW, challenge, await device.prove_beside(challenge, repin.NEW))
    assert proves(old.public_key, nest.device_id, repin.OLD, challenge, await device.prove(challenge, repin.OLD))
    await house.step(device, act, Step.COMMIT, new)
    device = (await nest.slot.cycle(device)).device
    assert await device.key_beside() == KeyBeside(old.public_key, old.job, old=True)
    await house.step(device, act, Step.END_OLD_KEY, new)
    device = (await nest.slot.cycle(device)).device
    assert (await device.key_beside(), await device.public_key()) == (None, StoredKey(new, old.job))
    assert (await device.identify()).locked
    assert house.cloud.status().signatures["authority"] == 3
    nonce = await device.rekey_nonce()  # the act was for the old key: with the new one in use it is void
    signed = house.word(act, Step.NEW_KEY, nonce)
    again = Authorised(signed.payload, signed.signatures[0].sig)
    assert await refusal(device.rekey_step, again) is RefusalReason.NOT_AUTHORISED
    await device.close()


async def test_nothing_happens_without_two_people_or_after_the_acts_end(
    nest: Nest, device: Device, house: House
) -> None:
    old = await house.locked(device)
    nonce = await device.rekey_nonce()
    alone, _ = house.act(nest.device_id, old.public_key, WHO["pia"])
    twice = msgspec.structs.replace(alone, signatures=alone.signatures * 2)
    for act in (alone, twice):
        with pytest.raises(SignerError) as caught:
            house.word(act, Step.NEW_KEY, nonce)
        assert caught.value.code is Code.ACT_NOT_APPROVED
    act, _ = house.act(nest.device_id, old.public_key)
    house.clock[0] = (NOW + timedelta(days=8)).timestamp()
    with pytest.raises(SignerError) as caught:
        house.word(act, Step.NEW_KEY, nonce)
    assert caught.value.code is Code.ACT_EXPIRED
    assert await device.key_beside() is None


async def test_another_clouds_word_and_one_for_another_device_are_refused(
    nest: Nest, device: Device, house: House, tmp_path: Path
) -> None:
    old = await house.locked(device)
    (tmp_path / "other").mkdir()
    stranger = build(tmp_path / "other", lambda authority: (authority,))
    other = DeviceId(bytes(reversed(nest.device_id.raw)))
    for whose, which in ((stranger, nest.device_id), (house, other)):
        act, _ = whose.act(which, old.public_key)
        with pytest.raises(RefusedError, match="not-authorised"):
            await whose.step(device, act, Step.NEW_KEY)
    assert await device.key_beside() is None
