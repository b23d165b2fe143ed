"""Re-keying a locked device (docs/wire.md §4.7): the whole way, and every word that is not the authority's for now."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.firmware import rekeying
from tests.firmware.machine import Device, blank_flash, native_command, powered
from tests.firmware.rekeying import (
    ABANDON,
    COMMIT,
    END_OLD_KEY,
    NEW,
    NEW_ANCHOR,
    NEW_KEY,
    NONE,
    OLD,
    UNLOCK,
    Authority,
    anchor_hash,
    payload,
    signed,
)
from tests.firmware.replay import observe
from tests.firmware.signatures import EC, RSA, new_anchor, new_job, proof_message, verify
from tests.firmware.test_commands import refused
from tests.firmware.wire import RefusedError

INVALID, LOCKED, BAD_KEY, NOT_LOCKED, NO_NONCE, NOT_AUTHORISED, OTHER_KEY, NO_OTHER_KEY = 2, 4, 9, 13, 14, 15, 16, 17


@pytest.fixture
def authority() -> Authority:
    return Authority()


def fingerprint(spki: bytes) -> bytes:
    return sha256(spki).digest()


@pytest.mark.parametrize(("alg", "new_alg"), [(EC, EC), (RSA, EC), (EC, RSA)])
def test_a_new_key_beside_the_old_and_then_in_its_place(
    device: Device, authority: Authority, alg: int, new_alg: int
) -> None:
    client, challenge = device.client, os.urandom(32)
    old = authority.lock(client, alg)
    job = client.public_key()["job"]
    new = authority.new_key(client, new_alg)
    for client in (device.client, device.power_cycle()):  # nothing of it is lost at a power cut
        assert client.key_beside() == {"st": NEW, "spki": new, "job": job}
        assert client.public_key() == {"spki": old, "job": job}
        verify(new, client.prove_beside(challenge, "rekey"), proof_message("rekey", challenge))
        verify(old, client.prove(challenge, "verify"), proof_message("verify", challenge))
    authority.commit(client)
    for client in (device.client, device.power_cycle()):
        assert client.key_beside() == {"st": OLD, "spki": old, "job": job}
        assert client.public_key() == {"spki": new, "job": job}
        verify(new, client.prove(challenge, "verify"), proof_message("verify", challenge))
        assert client.identify()["lock"] == 1
    authority.end_old_key(client)
    for client in (device.client, device.power_cycle()):
        assert client.key_beside() == {"st": NONE, "spki": b"", "job": b""}
        assert client.public_key() == {"spki": new, "job": job}
    assert authority.new_key(client) not in {old, new}, "it can be done again"


def test_the_old_key_is_gone_from_flash_at_its_end_and_an_abandoned_one_too(
    device: Device, authority: Authority, flash: Path
) -> None:
    authority.lock(device.client)
    old = flash.read_bytes()[0x1000 + 33 : 0x1000 + 65]
    authority.new_key(device.client)
    new = flash.read_bytes()[0x2000 + 33 : 0x2000 + 65]
    authority.abandon(device.client)
    assert new not in flash.read_bytes()
    authority.new_key(device.client)
    authority.commit(device.client)
    assert old in flash.read_bytes()
    authority.end_old_key(device.client)
    assert old not in flash.read_bytes()


def test_a_new_anchor_and_its_authority(device: Device, authority: Authority) -> None:
    authority.lock(device.client)
    successor = Authority()
    anchor = {**successor.anchor("new.example"), "port": 4433}
    authority.new_anchor(device.client, anchor)
    assert device.power_cycle().read_anchor() == anchor
    with refused(NOT_AUTHORISED):
        authority.unlock(device.client)
    successor.unlock(device.client)


def test_an_unlocked_device_is_open_until_it_is_locked_again(device: Device, authority: Authority) -> None:
    authority.lock(device.client)
    authority.unlock(device.client)
    client = device.power_cycle()
    assert client.identify()["lock"] == 0
    job = new_job()
    client.make_key(EC, job, replace=True)
    client.write_anchor(authority.anchor("other.example"))
    client.lock(job)
    client = device.power_cycle()
    assert client.identify()["lock"] == 1
    with refused(LOCKED):
        client.write_anchor(new_anchor())
    authority.unlock(client)


def test_an_open_device_takes_no_authorisation(device: Device, authority: Authority) -> None:
    job = new_job()
    spki = device.client.make_key(EC, job)
    device.client.write_anchor(authority.anchor())
    words = payload(UNLOCK, bytes(32), fingerprint(spki))
    with refused(NOT_LOCKED):
        device.client.nonce()
    with refused(NOT_LOCKED):
        device.client.step(words, signed(authority.private, words))


def test_steps_that_do_not_fit_what_the_device_holds(device: Device, authority: Authority) -> None:
    client = device.client
    old = authority.lock(client)
    somebody = sha256(b"somebody").digest()
    for step in (COMMIT, END_OLD_KEY, ABANDON):
        with refused(NO_OTHER_KEY):
            authority.step(client, step, somebody)
    with refused(NO_OTHER_KEY):
        client.prove_beside(bytes(32), "rekey")
    new = authority.new_key(client)
    for step, subject in ((COMMIT, somebody), (COMMIT, fingerprint(old)), (END_OLD_KEY, fingerprint(new))):
        with refused(NO_OTHER_KEY):
            authority.step(client, step, subject)
    for step, alg in ((NEW_KEY, EC), (UNLOCK, 0)):
        with refused(OTHER_KEY):
            authority.step(client, step, alg=alg)
    authority.commit(client)
    with refused(NO_OTHER_KEY):
        authority.step(client, ABANDON, fingerprint(old))
    with refused(OTHER_KEY):
        authority.step(client, NEW_KEY, alg=EC)
    other = {**authority.anchor(), "host": "another.example"}
    with refused(NOT_AUTHORISED):  # the word is for another anchor than the one that comes with it
        authority.step(client, NEW_ANCHOR, anchor_hash(authority.anchor()), **other)
    bad = {**authority.anchor(), "cloud": b"\x30\x00"}
    with refused(BAD_KEY):
        authority.step(client, NEW_ANCHOR, anchor_hash(bad), **bad)


def malformed(good: bytes) -> dict[str, bytes]:
    return {
        "too short": good[:-1], "too long": good + b"\0", "empty": b"", "magic": b"X" + good[1:],
        "version": good[:4] + b"\2" + good[5:], "step 0": good[:5] + b"\0" + good[6:], "step 7": good[:5] + b"\7" + good[6:],
        "algorithm of no new key": good[:6] + b"\1" + good[7:], "subject": good[:83] + bytes([1] * 32) + good[115:],
        "commit without a subject": good[:5] + b"\2" + good[6:], "new key of no algorithm": good[:5] + b"\1" + good[6:],
    }  # fmt: skip


def test_what_is_no_authorisation_uses_no_nonce_up(device: Device, authority: Authority) -> None:
    spki = authority.lock(device.client)
    good = payload(UNLOCK, device.client.nonce(), fingerprint(spki))
    for words in malformed(good).values():
        with refused(INVALID):
            device.client.step(words, signed(authority.private, words))
    for more in ({"port": 1}, authority.anchor()):
        with refused(INVALID):
            device.client.step(good, signed(authority.private, good), **more)
    for anchor in ({}, {"host": "a"}, {**authority.anchor(), "host": "a b"}):
        words = payload(NEW_ANCHOR, good[19:51], fingerprint(spki), fingerprint(b""))
        with refused(INVALID):
            device.client.step(words, signed(authority.private, words), **anchor)
    assert device.client.step(good, signed(authority.private, good)) == 2


# ---- words that are not the authority's, or not for this device, key and moment

Attack = Callable[[Device, Authority, bytes], None]


def say(device: Device, private: Any, words: bytes) -> None:
    device.client.step(words, signed(private, words))


def replay(device: Device, authority: Authority, key: bytes) -> None:
    """The word that opened it, once it is locked again."""
    words = payload(UNLOCK, device.client.nonce(), key)
    say(device, authority.private, words)
    device.client.lock(device.client.public_key()["job"])
    say(device, authority.private, words)


def after_power_loss(device: Device, authority: Authority, key: bytes) -> None:
    words = payload(UNLOCK, device.client.nonce(), key)
    device.power_cycle()
    say(device, authority.private, words)


def after_a_reset(device: Device, authority: Authority, key: bytes) -> None:
    words = payload(UNLOCK, device.client.nonce(), key)
    device.reset()
    say(device, authority.private, words)


def after_another_try(device: Device, authority: Authority, key: bytes) -> None:
    words = payload(UNLOCK, device.client.nonce(), key)
    with pytest.raises(RefusedError):
        device.client.step(words, b"0")
    say(device, authority.private, words)


def another_nonce(device: Device, authority: Authority, key: bytes) -> None:
    device.client.nonce()
    say(device, authority.private, payload(UNLOCK, os.urandom(32), key))


def the_nonce_before_the_last(device: Device, authority: Authority, key: bytes) -> None:
    words = payload(UNLOCK, device.client.nonce(), key)
    device.client.nonce()
    say(device, authority.private, words)


def another_device(device: Device, authority: Authority, key: bytes) -> None:
    say(device, authority.private, payload(UNLOCK, device.client.nonce(), key, device=b"another unit"))


def another_key_in_use(device: Device, authority: Authority, key: bytes) -> None:
    say(device, authority.private, payload(UNLOCK, device.client.nonce(), sha256(key).digest()))


def another_signer(device: Device, authority: Authority, key: bytes) -> None:
    say(device, rekeying.new_private(), payload(UNLOCK, device.client.nonce(), key))


def another_message(device: Device, authority: Authority, key: bytes) -> None:
    """Signed without its type: a word in another language."""
    words = payload(UNLOCK, device.client.nonce(), key)
    device.client.step(words, authority.private.sign(words, rekeying.ec.ECDSA(rekeying.SHA256())))


def no_signature(device: Device, authority: Authority, key: bytes) -> None:
    device.client.step(payload(UNLOCK, device.client.nonce(), key), b"")


def another_step(device: Device, authority: Authority, key: bytes) -> None:
    words = payload(UNLOCK, device.client.nonce(), key)
    other = words[:5] + bytes([NEW_KEY, EC]) + words[7:]
    device.client.step(other, signed(authority.private, words))


ATTACKS: list[Attack] = [
    replay, after_power_loss, after_a_reset, after_another_try, another_nonce, the_nonce_before_the_last, another_device,
    another_key_in_use, another_signer, another_message, no_signature, another_step,
]  # fmt: skip


def attempt(device: Device, authority: Authority, key: bytes, attack: Attack) -> bool:
    """Whether the device fell for it."""
    before = observe(device)
    try:
        attack(device, authority, key)
    except RefusedError as error:
        refusal = error.rc
    else:
        return True
    assert refusal in {NO_NONCE, NOT_AUTHORISED}, attack.__name__
    assert observe(device) == before, attack.__name__
    return False


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_changed_by(device: Device, authority: Authority, attack: Attack) -> None:
    key = fingerprint(authority.lock(device.client))
    assert not attempt(device, authority, key, attack)
    authority.unlock(device.client)


def test_those_attacks_find_a_device_that_does_not_check_its_nonce(loose: Path, tmp_path: Path) -> None:
    fell = set()
    for attack in ATTACKS:
        flash, authority = tmp_path / "flash.bin", Authority()
        flash.write_bytes(blank_flash())
        with powered(native_command(loose, flash)) as device:
            key = fingerprint(authority.lock(device.client))
            fell |= {attack.__name__} if attempt(device, authority, key, attack) else set()
    assert fell == {
        "replay", "after_power_loss", "after_a_reset", "after_another_try", "another_nonce", "the_nonce_before_the_last",
    }  # fmt: skip


def refused_flips(device: Device, authority: Authority, key: bytes, every: int) -> int:
    """How many authorisations with one bit flipped were refused, and nothing changed: all that were tried."""
    before, tried = observe(device), 0
    for at in range(0, 251 * 8, every):
        words = payload(UNLOCK, device.client.nonce(), key)
        flipped = bytearray(words)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(RefusedError):
            device.client.step(bytes(flipped), signed(authority.private, words))
        tried += 1
    for at in range(0, 70 * 8, every):
        words = payload(UNLOCK, device.client.nonce(), key)
        signature = bytearray(signed(authority.private, words))
        signature[at // 8] ^= 1 << at % 8
        with pytest.raises(RefusedError):
            device.client.step(words, bytes(signature))
        tried += 1
    assert observe(device) == before
    return tried


def test_one_flipped_bit_is_refused(device: Device, authority: Authority) -> None:
    key = fingerprint(authority.lock(device.client))
    assert refused_flips(device, authority, key, every=11) > 200


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_flipped_bit_is_refused(device: Device, authority: Authority) -> None:
    key = fingerprint(authority.lock(device.client))
    assert refused_flips(device, authority, key, every=1) == 321 * 8


def test_without_random_numbers_there_is_no_nonce_and_no_new_key(
    start: Callable[..., Device], authority: Authority
) -> None:
    device = start()
    authority.lock(device.client)
    device.power_off()
    with refused(7):
        start("--noise", "stuck").client.nonce()


def test_a_worn_out_flash_leaves_the_old_key_in_use(start: Callable[..., Device], authority: Authority) -> None:
    device = start()
    old = authority.lock(device.client)
    device.power_off()
    device = start("--flash-stuck", "0x2010")  # in slot B of the key
    assert authority.step(device.client, NEW_KEY, alg=EC) == 1
    while device.client.status()[0] == 1:
        pass
    assert device.client.status()[0] == 3
    assert (device.client.key_beside()["st"], device.client.public_key()["spki"]) == (NONE, old)
