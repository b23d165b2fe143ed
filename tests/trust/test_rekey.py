"""Re-key authorisations: one spelling, one for each step of an act over a nonce, and no other is taken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.trust.documents import ec_key, spki
from tests.trust.people import signature
from tests.trust.test_pin_act import ACT, made
from trust import rekey
from trust.dsse import Envelope, Signature
from trust.keys import KeyType, PublicKey
from trust.rekey import STEPS, Authorisation, RekeyError, Step

NONCE, NEW = bytes(range(32)), "ee" * 32
AT = datetime(2026, 12, 2, tzinfo=UTC)
AUTHORITY, OTHER = ec_key(), ec_key()
ACTS: dict[str, dict[str, Any]] = {
    "new-key": {},
    "new-anchor": {"change": "new-anchor", "key_type": "", "anchor_sha256": "ab" * 32},
    "unlock": {"change": "unlock", "key_type": ""},
}
GOOD = [(change, step) for change, steps in STEPS.items() for step in sorted(steps)]


def for_step(change: str, step: Step, **more: Any) -> tuple[Envelope, Authorisation]:
    act = made("pia", "quinn", **ACTS[change])
    given = {"nonce": NONCE, "new_fingerprint": NEW if step in rekey.ABOUT_BOTH_KEYS else "", **more}
    return act, rekey.authorisation(act, msgspec.structs.replace(ACT, **ACTS[change]), step, **given)


def wrapped(payload: bytes, *keys: Any, kind: str = rekey.PAYLOAD_TYPE) -> Envelope:
    plain = Envelope(payload, kind)
    return msgspec.structs.replace(plain, signatures=tuple(signature(key, plain) for key in keys))


@pytest.mark.parametrize(("change", "step"), GOOD)
def test_each_step_has_its_own_and_reads_as_written(change: str, step: Step) -> None:
    act, found = for_step(change, step)
    assert len(found.encode()) == rekey.PAYLOAD_BYTES == 251
    assert Authorisation.parse(found.encode()) == found
    assert found.act_sha256 == hashlib.sha256(act.to_json()).hexdigest()
    assert (found.key_type is KeyType.EC_P256) == (step is Step.NEW_KEY)
    assert rekey.problem(found, act, msgspec.structs.replace(ACT, **ACTS[change]), AT) is None


def test_the_end_of_the_old_key_is_said_to_the_new_one() -> None:
    _, committed = for_step("new-key", Step.COMMIT)
    _, ended = for_step("new-key", Step.END_OLD_KEY)
    assert (committed.fingerprint, committed.subject) == (ACT.fingerprint, NEW)
    assert (ended.fingerprint, ended.subject) == (NEW, ACT.fingerprint)


@pytest.mark.parametrize(("change", "step"), [(c, s) for c in ACTS for s in Step if s not in STEPS[c]])
def test_a_step_of_another_act_is_refused(change: str, step: Step) -> None:
    with pytest.raises(RekeyError, match="is none of an act"):
        for_step(change, step)


@pytest.mark.parametrize(
    ("step", "more", "said"),
    [
        (Step.NEW_KEY, {"new_fingerprint": NEW}, "no new key belongs to it"),
        (Step.COMMIT, {"new_fingerprint": ""}, "name the new key"),
        (Step.COMMIT, {"new_fingerprint": ACT.fingerprint}, "is the old one"),
        (Step.NEW_KEY, {"nonce": bytes(31)}, "32 bytes"),
    ],
)
def test_what_a_step_must_name(step: Step, more: dict[str, Any], said: str) -> None:
    with pytest.raises(RekeyError, match=said):
        for_step("new-key", step, **more)


def test_only_an_authority_key_alone_makes_one() -> None:
    payload = for_step("unlock", Step.UNLOCK)[1].encode()
    keys = [PublicKey.from_der(spki(AUTHORITY))]
    assert rekey.authorised(wrapped(payload, AUTHORITY), keys).step is Step.UNLOCK
    wrong_kind = wrapped(payload, AUTHORITY, kind="application/vnd.keystation.pin-act.v1+json")
    for bad in (wrapped(payload), wrapped(payload, OTHER), wrapped(payload, AUTHORITY, AUTHORITY), wrong_kind):
        with pytest.raises(RekeyError):
            rekey.authorised(bad, keys)


def test_every_changed_byte_is_no_authorisation_or_another_one() -> None:
    act, found = for_step("new-key", Step.COMMIT)
    payload = found.encode()
    for at in range(len(payload)):
        changed = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        try:
            other = Authorisation.parse(changed)
        except RekeyError:
            continue
        own = other.nonce == found.nonce and other.subject == found.subject  # these two are the request's to say
        assert not own or rekey.problem(other, act, ACT, AT), at
    for size in (0, 250, 252):
        with pytest.raises(RekeyError):
            Authorisation.parse(payload.ljust(size, b"\0")[:size])


def test_what_came_after_the_end_or_by_other_approvals_is_refused() -> None:
    act, found = for_step("unlock", Step.UNLOCK)
    body = msgspec.structs.replace(ACT, **ACTS["unlock"])
    assert "good until" in str(rekey.problem(found, act, body, datetime(2026, 12, 9, tzinfo=UTC)))
    fewer = made("pia", **ACTS["unlock"])
    assert "another act" in str(rekey.problem(found, fewer, body, AT))
    elsewhere = dataclasses.replace(found, environment="plant-b")
    assert "another act" in str(rekey.problem(elsewhere, act, body, AT))


def test_the_bytes_are_those_of_the_vectors() -> None:
    """The same that device and driver are held to, written from docs/wire.md and by other code."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "smp_provisioning.json").read_text())
    examples = vectors["signed"]["authorisations"]
    authority = PublicKey.from_der(bytes.fromhex(examples["authority"]))
    for name in ("new_key", "commit", "new_anchor", "unlock"):
        example = examples[name]
        signatures = (Signature(authority.fingerprint, bytes.fromhex(example["sig"])),)
        wrapped = Envelope(bytes.fromhex(example["au"]), rekey.PAYLOAD_TYPE, signatures)
        assert wrapped.pae.hex() == example["message"]
        found = rekey.authorised(wrapped, [authority])
        assert found.step.value == name.replace("_", "-")
        assert (str(found.device_id), found.nonce.hex(), found.fingerprint, found.subject) == (
            examples["id"], examples["nonce"], examples["key"], example["about"],
        )  # fmt: skip
        assert (found.act_sha256, found.root_sha256, found.not_after, found.environment) == tuple(
            examples[each] for each in ("act", "root", "not_after", "environment")
        )


def test_the_hash_of_an_anchor_is_over_its_payload_in_flash() -> None:
    flash = b"\0\2ab\0\1c\0\4host\1\x16\x34"
    named = rekey.anchor_sha256(cloud_key=b"ab", authority_key=b"c", service="udp", host="host", port=5684)
    assert named == hashlib.sha256(flash).hexdigest()
