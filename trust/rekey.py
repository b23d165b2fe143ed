"""Re-key authorisations: the authority's word to one locked device, for one step of an approved act, over its nonce.

The device must read one, so the payload has a fixed binary layout (docs/wire.md §4.7, docs/decisions/0024); around it
is the envelope of every other statement. Pure: composes and checks bytes, the same ones for signer, registry and who
audits later. Never judges the act itself (`trust.pin_act`), and never signs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

from trust import pin_act
from trust.dsse import Envelope
from trust.identity import DeviceId, IdentityError, parse_name
from trust.keys import KeyType, PublicKey
from trust.pin_act import LONGEST, PinAct
from trust.root import TrustedRoot
from trust.statement import moment

PAYLOAD_TYPE: Final = "application/vnd.keystation.rekey-authorisation.v1"
NONCE_BYTES: Final = 32
_LAYOUT: Final = struct.Struct(">4sBBB12s32s32s32s32s32sQ64s")
PAYLOAD_BYTES: Final = _LAYOUT.size
_NOTHING: Final = bytes(32)


class RekeyError(ValueError):
    """Not an authorisation, or not one that may be; the text says why."""


class Step(StrEnum):
    """One step of a re-key act; each needs an authorisation of its own over a fresh nonce of the device."""

    NEW_KEY = "new-key"
    COMMIT = "commit"
    END_OLD_KEY = "end-old-key"
    ABANDON = "abandon"
    NEW_ANCHOR = "new-anchor"
    UNLOCK = "unlock"


ABOUT_BOTH_KEYS: Final = frozenset({Step.COMMIT, Step.END_OLD_KEY, Step.ABANDON})
STEPS: Final = MappingProxyType(
    {
        "new-key": frozenset({Step.NEW_KEY}) | ABOUT_BOTH_KEYS,
        "new-anchor": frozenset({Step.NEW_ANCHOR}),
        "unlock": frozenset({Step.UNLOCK}),
    }
)
"""The steps of each change that an act may name."""
UNSEEN: Final = frozenset({Step.UNLOCK, Step.NEW_ANCHOR})
"""The steps that no pin shows: that they were allowed stands on record by their words alone."""
_NUMBERS: Final = MappingProxyType({step: number for number, step in enumerate(Step, start=1)})
_KEY_TYPES: Final = MappingProxyType({None: 0, KeyType.EC_P256: 1, KeyType.RSA_2048: 2})


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """What the device reads. Fingerprints and hashes are 64 hex digits, `not_after` Unix seconds.

    `fingerprint`: the key that the device has in use; `subject`: the other key of a step about both, or the new
    anchor's hash, empty otherwise; `key_type`: of the key to be made, None otherwise; `act_sha256`: of the act's
    envelope, approvals and all.
    """

    step: Step
    device_id: DeviceId
    nonce: bytes
    fingerprint: str
    subject: str
    key_type: KeyType | None
    act_sha256: str
    root_sha256: str
    not_after: int
    environment: str

    def encode(self) -> bytes:
        """The payload's one spelling."""
        return _LAYOUT.pack(
            b"DRKA", 1, _NUMBERS[self.step], _KEY_TYPES[self.key_type], self.device_id.raw, self.nonce,
            bytes.fromhex(self.fingerprint), bytes.fromhex(self.subject) or _NOTHING, bytes.fromhex(self.act_sha256),
            bytes.fromhex(self.root_sha256), self.not_after, self.environment.encode("ascii"),
        )  # fmt: skip

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """From a payload; every byte is accounted for, else RekeyError."""
        if len(payload) != PAYLOAD_BYTES:
            raise RekeyError(f"re-key authorisation of {len(payload)} bytes: it has {PAYLOAD_BYTES}")
        _, _, step, key_type, device, nonce, own, subject, act, root, ends, environment = _LAYOUT.unpack(payload)
        try:
            found = cls(
                step={number: each for each, number in _NUMBERS.items()}[step],
                device_id=DeviceId(device), nonce=nonce, fingerprint=own.hex(),
                subject="" if subject == _NOTHING else subject.hex(),
                key_type={number: each for each, number in _KEY_TYPES.items()}[key_type],
                act_sha256=act.hex(), root_sha256=root.hex(), not_after=ends,
                environment=parse_name(environment.rstrip(b"\0").decode("ascii"), "environment"),
            )  # fmt: skip
        except (KeyError, IdentityError, UnicodeDecodeError) as error:
            raise RekeyError(f"re-key authorisation: a field has a value that is not defined ({error})") from error
        if found.encode() != payload:
            raise RekeyError("re-key authorisation: wrong magic, version or padding")
        return found


def anchor_sha256(*, cloud_key: bytes, authority_key: bytes, service: str, host: str, port: int) -> str:
    """What act and authorisation call a new anchor: SHA-256 of its payload in flash (docs/wire.md §6)."""
    parts = (cloud_key, authority_key, host.encode("ascii"))
    payload = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    return hashlib.sha256(payload + struct.pack(">BH", {"tcp": 0, "udp": 1}[service], port)).hexdigest()


def authorisation(
    envelope: Envelope, act: PinAct, step: Step, *, nonce: bytes, new_fingerprint: str = ""
) -> Authorisation:
    """The one authorisation for this step of this act over this nonce of 32 bytes; RekeyError.

    `new_fingerprint` names the new key once it is made: in each step that is about both keys, and in no other.
    """
    if step not in STEPS.get(act.change, frozenset()):
        raise RekeyError(f"step {step.value} is none of an act {act.kind} {act.change}: have another act made")
    if len(nonce) != NONCE_BYTES:
        raise RekeyError(f"a device's nonce has {NONCE_BYTES} bytes, got {len(nonce)}")
    if bool(new_fingerprint) != (step in ABOUT_BOTH_KEYS):
        text = "name the new key by its fingerprint" if step in ABOUT_BOTH_KEYS else "no new key belongs to it"
        raise RekeyError(f"step {step.value}: {text}")
    if new_fingerprint == act.fingerprint:
        raise RekeyError("the new key is the old one: nothing would change")
    # Once the new key is in use it is the one that the device must have, and the old one is what the step is about.
    own, subject = act.fingerprint, act.anchor_sha256 or new_fingerprint
    if step is Step.END_OLD_KEY:
        own, subject = subject, own
    return Authorisation(
        step=step, device_id=DeviceId.parse(act.device_id), nonce=nonce, fingerprint=own, subject=subject,
        key_type=KeyType(act.key_type) if step is Step.NEW_KEY else None,
        act_sha256=hashlib.sha256(envelope.to_json()).hexdigest(), root_sha256=act.root_sha256,
        not_after=int(window(act, step)[1].timestamp()), environment=act.environment,
    )  # fmt: skip


def window(act: PinAct, step: Step) -> tuple[datetime, datetime]:
    """From when until when the step may be authorised and done. The old key is ended from its own end on, and later."""
    made, ends = moment(act.made_at), moment(act.not_after)
    if step is not Step.END_OLD_KEY or not act.ends_at:
        return made, ends
    old_ends = moment(act.ends_at)
    return old_ends, max(ends, old_ends + LONGEST)


def authorised(envelope: Envelope, keys: Iterable[PublicKey]) -> Authorisation:
    """The authorisation inside, if one of these authority keys signed it, and it alone; RekeyError."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise RekeyError(f"payload type {envelope.payload_type!r}: expected {PAYLOAD_TYPE!r}")
    if not any(envelope.signed_by(key) for key in keys):
        raise RekeyError("re-key authorisation: not signed by an authority key of the trust root and by it alone")
    return Authorisation.parse(envelope.payload)


def on_record(word: Envelope, act: Envelope, trusted: TrustedRoot, at: datetime) -> tuple[Authorisation, PinAct]:
    """The word for a step that no pin shows, as it was given at that time, and its act.

    Approved then, and signed by an authority key of then or since; else ActRefusedError, RootError, RekeyError or
    PublicKeyError.
    """
    wanted = pin_act.on_record(act, trusted, at)
    keys = {spki for root in trusted.since(wanted.root_sha256) for spki in root.cloud_keys.authority}
    said = authorised(word, [PublicKey.from_der(each) for each in sorted(keys)])
    wrong = problem(said, act, wanted, at)
    if wrong is None and said.step not in UNSEEN:
        wrong = f"step {said.step.value} is none of those that are kept by their words"
    if wrong is not None:
        raise RekeyError(wrong)
    return said, wanted


def problem(found: Authorisation, envelope: Envelope, act: PinAct, at: datetime) -> str | None:
    """Why this is not an authorisation for a step of this act at this time; None if it is.

    For who takes what came of it: the device has no clock, so what it did after the end is refused here.
    """
    new = "" if found.step not in ABOUT_BOTH_KEYS else found.subject
    if found.step is Step.END_OLD_KEY:
        new = found.fingerprint
    try:
        wanted = authorisation(envelope, act, found.step, nonce=found.nonce, new_fingerprint=new)
    except RekeyError as error:
        return str(error)
    if found != wanted:
        return "the re-key authorisation is for another act, device or key"
    if at > datetime.fromtimestamp(found.not_after, UTC):
        ended = datetime.fromtimestamp(found.not_after, UTC)
        return f"the re-key authorisation was good until {ended:%Y-%m-%dT%H:%M:%SZ}: have the act made again"
    return None
