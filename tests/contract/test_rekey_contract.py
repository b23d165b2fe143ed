"""Changing a locked device (docs/wire.md §4.7) as the station meets it: the same tests for every kind of device."""

from __future__ import annotations

import dataclasses
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.device import Authorised, Device, GenerationState, KeyBeside, RefusalReason, RefusedError, StoredKey
from tests.contract.authority import Authority, hash_of, locked
from tests.contract.nests import Nest
from tests.contract.parties import closing_report, key_done, proof_holds, udp_anchor
from tests.contract.test_contract import refusal
from trust.identity import DeviceId
from trust.keys import KeyType, PublicKey
from trust.proof import proves
from trust.rekey import Authorisation, Step

pytestmark = pytest.mark.anyio
OPEN_WORDS = {RefusalReason.NO_NONCE, RefusalReason.NOT_AUTHORISED}


async def new_key(device: Device, authority: Authority) -> PublicKey:
    """Has a key made beside the old one."""
    await authority.step(device, Step.NEW_KEY)
    await key_done(device)
    beside = await device.key_beside()
    assert beside is not None
    return beside.public_key


async def test_a_new_key_is_made_beside_the_old_one_and_takes_its_place(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    assert await device.key_beside() is None
    new = await new_key(device, authority)
    challenge = secrets.token_bytes(32)
    device = (await nest.slot.cycle(device)).device
    assert await device.key_beside() == KeyBeside(new, authority.job, old=False)
    assert await device.public_key() == StoredKey(authority.key, authority.job)
    assert proves(new, nest.device_id, "rekey", challenge, await device.prove_beside(challenge, "rekey"))
    assert await proof_holds(device, authority.key, nest.device_id)
    await authority.step(device, Step.COMMIT, new)
    device = (await nest.slot.cycle(device)).device
    assert await device.key_beside() == KeyBeside(authority.key, authority.job, old=True)
    report = await closing_report(device, new)
    assert (report.device_fingerprint, report.job, report.locked) == (new.fingerprint, authority.job, True)
    await authority.step(device, Step.END_OLD_KEY, new)
    device = (await nest.slot.cycle(device)).device
    assert await device.key_beside() is None
    assert await device.public_key() == StoredKey(new, authority.job)
    assert await refusal(device.write_anchor, udp_anchor()) is RefusalReason.LOCKED
    assert await refusal(device.prove_beside, challenge, "rekey") is RefusalReason.NO_OTHER_KEY
    await device.close()


async def test_a_new_key_can_be_abandoned_and_another_one_made(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    first = await new_key(device, authority)
    assert await refusal(authority.step, device, Step.NEW_KEY) is RefusalReason.OTHER_KEY
    await authority.step(device, Step.ABANDON, first)
    assert await device.key_beside() is None
    assert await new_key(device, authority) not in {first, authority.key}
    assert (await device.public_key()).public_key == authority.key


async def test_a_new_anchor_comes_with_the_word_for_it(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    anchor, other = udp_anchor("new.example", 4433), udp_anchor("other.example")
    assert hash_of(anchor) != hash_of(other)
    before = await device.read_anchor()
    word = authority.word(authority.act("new-anchor", anchor), Step.NEW_ANCHOR, await device.rekey_nonce())
    assert await refusal(device.rekey_step, authority.say(word, other)) is RefusalReason.NOT_AUTHORISED
    assert await device.read_anchor() == before
    word = dataclasses.replace(word, nonce=await device.rekey_nonce())
    assert (await device.rekey_step(authority.say(word, anchor))).state is GenerationState.DONE
    device = (await nest.slot.cycle(device)).device
    assert await device.read_anchor() == anchor
    assert await refusal(authority.unlock, device) is RefusalReason.NOT_AUTHORISED, "the old authority is none now"
    await device.close()


async def test_an_unlocked_device_is_open_until_it_is_locked(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    await authority.unlock(device)
    device = (await nest.slot.cycle(device)).device
    assert not (await device.identify()).locked
    anchor = dataclasses.replace(udp_anchor(), authority_key=authority.public)
    await device.write_anchor(anchor)
    assert await refusal(device.rekey_nonce) is RefusalReason.NOT_LOCKED
    await device.lock(authority.job)
    await authority.unlock(device)
    await device.close()


async def test_an_open_device_knows_no_steps(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    await authority.unlock(device)
    word = authority.word(authority.act("unlock"), Step.UNLOCK, bytes(32))
    assert await refusal(device.rekey_step, authority.say(word)) is RefusalReason.NOT_LOCKED


async def test_steps_that_fit_no_key_change_nothing(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    somebody = udp_anchor().cloud_key
    for step in (Step.COMMIT, Step.ABANDON):
        assert await refusal(authority.step, device, step, somebody) is RefusalReason.NO_OTHER_KEY
    new = await new_key(device, authority)
    for step in (Step.COMMIT, Step.ABANDON):
        assert await refusal(authority.step, device, step, somebody) is RefusalReason.NO_OTHER_KEY
    assert await refusal(authority.step, device, Step.END_OLD_KEY, new) is RefusalReason.NOT_AUTHORISED
    assert await refusal(authority.unlock, device) is RefusalReason.OTHER_KEY
    await authority.step(device, Step.COMMIT, new)
    assert await refusal(authority.step, device, Step.ABANDON, new) is RefusalReason.NOT_AUTHORISED
    assert await device.key_beside() == KeyBeside(authority.key, authority.job, old=True)


# ---- words that are not for this device, key and moment


async def unlocking(device: Device, authority: Authority) -> Authorisation:
    """The word that would open the device now."""
    return authority.word(authority.act("unlock"), Step.UNLOCK, await device.rekey_nonce())


async def replayed(device: Device, authority: Authority) -> Authorised:
    said = authority.say(await unlocking(device, authority))
    await device.rekey_step(said)
    await device.lock(authority.job)
    return said


async def for_another_nonce(device: Device, authority: Authority) -> Authorised:
    return authority.say(dataclasses.replace(await unlocking(device, authority), nonce=secrets.token_bytes(32)))


async def of_another_authority(device: Device, authority: Authority) -> Authorised:
    stranger = dataclasses.replace(authority, private=ec.generate_private_key(ec.SECP256R1()))
    return stranger.say(await unlocking(device, authority))


async def for_another_device(device: Device, authority: Authority) -> Authorised:
    other = DeviceId(bytes(reversed(authority.device_id.raw)))
    return authority.say(dataclasses.replace(await unlocking(device, authority), device_id=other))


async def for_another_key(device: Device, authority: Authority) -> Authorised:
    return authority.say(dataclasses.replace(await unlocking(device, authority), fingerprint="ab" * 32))


async def with_one_bit_flipped(device: Device, authority: Authority) -> Authorised:
    said = authority.say(await unlocking(device, authority))
    at = secrets.randbelow(8 * 64) + 8 * 115  # in act and root, which no device looks at
    flipped = bytearray(said.payload)
    flipped[at // 8] ^= 1 << at % 8
    return dataclasses.replace(said, payload=bytes(flipped))


WORDS = [
    replayed, for_another_nonce, of_another_authority, for_another_device, for_another_key, with_one_bit_flipped,
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
async def test_no_other_word_changes_anything(nest: Nest, device: Device, word) -> None:
    authority = await locked(device, nest.device_id)
    before = (await device.identify(), await device.public_key(), await device.read_anchor())
    said = await word(device, authority)
    with pytest.raises(RefusedError) as caught:
        await device.rekey_step(said)
    assert caught.value.reason in OPEN_WORDS
    assert before == (await device.identify(), await device.public_key(), await device.read_anchor())
    await authority.unlock(device)


async def test_a_word_dies_with_the_power(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    said = authority.say(await unlocking(device, authority))
    device = (await nest.slot.cycle(device)).device
    assert await refusal(device.rekey_step, said) is RefusalReason.NO_NONCE
    assert (await device.identify()).locked
    await device.close()


async def test_a_nonce_is_used_up_by_a_word_that_was_refused(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    word = await unlocking(device, authority)
    bad = dataclasses.replace(authority.say(word), signature=b"none")
    assert await refusal(device.rekey_step, bad) is RefusalReason.NOT_AUTHORISED
    assert await refusal(device.rekey_step, authority.say(word)) is RefusalReason.NO_NONCE


async def test_a_power_cut_while_the_new_key_is_made_leaves_the_old_one_alone(nest: Nest, device: Device) -> None:
    authority = await locked(device, nest.device_id)
    word = authority.word(authority.act("new-key"), Step.NEW_KEY, await device.rekey_nonce())
    slow = dataclasses.replace(word, key_type=KeyType.RSA_2048)
    assert (await device.rekey_step(authority.say(slow))).state is GenerationState.RUNNING
    await nest.power_off()
    await nest.power_on()
    assert await device.key_beside() is None
    assert await device.public_key() == StoredKey(authority.key, authority.job)
    assert await proof_holds(device, authority.key, nest.device_id)
