"""Requests and answers about a device's pins over time, as JSON. Never decides anything about what it reads."""

from __future__ import annotations

from typing import Annotated

import msgspec

from registry.messages import RawEnvelope
from registry.pins.life import Deed
from registry.pins.reading import KeyState, Reading
from trust.act import Reason
from trust.pin_act import PinActKind, State
from trust.rekey import Step
from trust.statement import Hex32, KeyTypeName, MaybeHex32

Short = Annotated[str, msgspec.Meta(max_length=200)]
Signature = Annotated[bytes, msgspec.Meta(min_length=8, max_length=512)]
Two = tuple[Signature, Signature]
Challenge = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Spki = Annotated[bytes, msgspec.Meta(min_length=1, max_length=600)]


class ActRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/revoke and …/unscrap: the approved act."""

    act: RawEnvelope


class ApproverCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The one-time code of the approver who has signed the act; `device` as at a sign-in."""

    user_id: Short
    code: Short
    device: Short = ""


class ScrapRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of POST …/scrap: the approved act, and for a unit that was never finished its approver's code."""

    act: RawEnvelope
    approver: ApproverCode | msgspec.UnsetType = msgspec.UNSET


class RepinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of POST …/repin: the approved act, and what the device shows of its new key over the registry's challenge.

    `old_signatures` and `authorisation` belong to an act of kind rekey.
    """

    act: RawEnvelope
    challenge: Challenge
    spki: Spki
    signatures: Two
    old_signatures: Two | None = None
    authorisation: RawEnvelope | msgspec.UnsetType = msgspec.UNSET


class AuthorisationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of POST …/authorisations: the approved act, a step of it, and what the device on the bench has given.

    `new_fingerprint`: of the new key, in the steps that are about both keys.
    """

    act: RawEnvelope
    step: Step
    nonce: Hex32
    new_fingerprint: MaybeHex32 = ""


class AuthorisationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The authority's word to the device, for this step over this nonce."""

    authorisation: RawEnvelope


class ChallengeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge for a new key's proof: good once, for this device, until it expires."""

    challenge: Challenge
    expires_at: str


class ProposalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of POST …/proposals: what somebody would like done, and why; `spki` for a new key, if it is known."""

    kind: PinActKind
    reason: Reason
    spki: Spki | None = None


class ProposalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal: it changes nothing. `proved_at`: when the device showed that it has the key; empty if it has not."""

    proposal: str
    device_id: str
    kind: PinActKind
    reason: str
    proposer: str
    source: str
    fingerprint: str | None
    proposed_at: str
    proved_at: str


class ProposalsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest proposals about a device, newest first."""

    proposals: tuple[ProposalAnswer, ...]


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was ever pinned for the device: its state now, since when, and until when it was or is good."""

    fingerprint: str
    key_type: KeyTypeName
    spki: bytes
    state: KeyState
    since: str
    until: str | None


class ActEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An act that was done, and what came of it; everything that proves it."""

    kind: PinActKind
    at: str
    state: State
    act: RawEnvelope
    receipt: RawEnvelope
    repin: RawEnvelope | None
    authorisation: RawEnvelope | None
    revocation: RawEnvelope | None


class WordEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A word of the authority that no pin shows, to open the device or for a new anchor, and its act."""

    step: Step
    at: str
    act: RawEnvelope
    authorisation: RawEnvelope


class DeviceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All that is held about a device: its keys oldest first, and each act on them in its order."""

    device_id: str
    state: State
    station: str
    job: str
    order_id: str
    order_sha256: str
    statement: RawEnvelope
    receipt: RawEnvelope
    completion: RawEnvelope | None
    completion_receipt: RawEnvelope | None
    keys: tuple[KeyEntry, ...]
    acts: tuple[ActEntry, ...]
    words: tuple[WordEntry, ...]


class RevocationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Revocations of devices that were scrapped under an order; `next` names the page after this one, if any."""

    revocations: tuple[RawEnvelope, ...]
    next: str | None


def device_answer(reading: Reading) -> bytes:
    """Answer to a GET of a device, and to an act on it."""
    rows, pin = reading.rows, reading.papers.pin
    done = rows.completion
    return msgspec.json.encode(
        DeviceAnswer(
            device_id=reading.device_id, state=reading.state, station=pin.station, job=pin.job, order_id=pin.order_id,
            order_sha256=pin.order_sha256, statement=msgspec.Raw(rows.pin["statement"]),
            receipt=msgspec.Raw(rows.receipts[rows.pin["statement_sha256"]]),
            completion=None if done is None else msgspec.Raw(done["statement"]),
            completion_receipt=None if done is None else msgspec.Raw(rows.receipts[done["statement_sha256"]]),
            keys=tuple(
                KeyEntry(
                    fingerprint=each.key.fingerprint, key_type=each.key.key_type.value, spki=each.key.spki,
                    state=each.state, since=each.since, until=each.until,
                )
                for each in reading.keys
            ),
            acts=tuple(_act(each, reading) for each in reading.deeds),
            words=tuple(
                WordEntry(
                    step=each.step, at=each.at, act=msgspec.Raw(each.act.to_json()),
                    authorisation=msgspec.Raw(each.envelope.to_json()),
                )
                for each in reading.words
            ),
        )
    )  # fmt: skip


def challenge_answer(challenge: bytes, expires_at: str) -> bytes:
    """Answer to who asks for one."""
    return msgspec.json.encode(ChallengeAnswer(challenge=challenge, expires_at=expires_at))


def _act(deed: Deed, reading: Reading) -> ActEntry:
    row = next(each for each in reading.rows.acts if each["act_sha256"] == deed.envelope.payload_sha256)
    return ActEntry(
        kind=deed.act.kind, at=deed.at, state=deed.life.state, act=msgspec.Raw(row["act"]),
        receipt=msgspec.Raw(reading.rows.receipts[deed.statement_sha256]), repin=_raw(row["repin"]),
        authorisation=_raw(row["authorisation"]),
        revocation=None if deed.revocation is None else msgspec.Raw(deed.revocation.to_json()),
    )  # fmt: skip


def _raw(data: bytes | None) -> msgspec.Raw | None:
    return None if data is None else msgspec.Raw(data)
