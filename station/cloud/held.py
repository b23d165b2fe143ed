"""What the registry says of a device, and what of it is proved.

Trust no answer: `Held.done` gives an act only with the registry's receipt for it, which is verified here; that two
people want it is the approved act itself, and `Held.standing` asks that of each. Nobody can prove that the registry
shows all that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from trust import act_receipt, pin_act, rekey
from trust.act import ActRefusedError
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.keys import PublicKeyError
from trust.pin_act import State
from trust.rekey import RekeyError, Step
from trust.repin import Repin
from trust.root import RootError, TrustedRoot
from trust.statement import StatementError, Utc, moment, read


class HeldKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was ever pinned for the device, as the registry tells it; `until` when it was or is good."""

    fingerprint: str
    state: str
    until: str | None


class _HeldAct(msgspec.Struct, frozen=True, kw_only=True):
    act: msgspec.Raw
    receipt: msgspec.Raw
    repin: msgspec.Raw


class _HeldWord(msgspec.Struct, frozen=True, kw_only=True):
    at: Utc
    act: msgspec.Raw
    authorisation: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of a device, as the registry tells it."""

    state: State
    order_id: str
    keys: tuple[HeldKey, ...]
    acts: tuple[_HeldAct, ...]
    words: tuple[_HeldWord, ...]


@dataclass(frozen=True, slots=True)
class DoneAct:
    """An act that the registry has done, by its receipt; `fingerprint` is the device's newest key since then."""

    state: State
    fingerprint: str
    at: str


@dataclass(frozen=True, slots=True)
class SaidWord:
    """The authority's word to the device for a step that no pin shows; `sha256` of its payload, which has a nonce."""

    step: Step
    at: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry says of a device. Only `done`, `standing`, `gave_key` and `words` are proved."""

    device: DeviceId
    said: Answer

    @property
    def state(self) -> State:
        """Its state, unproved: a hint."""
        return self.said.state

    @property
    def order_id(self) -> str:
        """The order of its first pin, unproved."""
        return self.said.order_id

    @property
    def newest(self) -> HeldKey | None:
        """The key that was pinned last, unproved."""
        return self.said.keys[-1] if self.said.keys else None

    def key(self, fingerprint: str) -> HeldKey | None:
        """What is said of this key."""
        return next((each for each in self.said.keys if each.fingerprint == fingerprint), None)

    def done(self, act: Envelope, trusted: TrustedRoot) -> DoneAct | None:
        """The very act as it was done, receipt verified; None if it was not; StatementError."""
        for each in self.said.acts:
            if _envelope(each.act).payload_sha256 == act.payload_sha256:
                return self._proved(each, act, trusted)
        return None

    def standing(self, trusted: TrustedRoot) -> DoneAct | None:
        """What the newest act has made of the device; None if nothing was ever done to its pin. StatementError.

        Each act with its people and its receipt; what is told of state and newest key is what follows from the last.
        """
        newest = None
        for each in self.said.acts:
            try:
                act = _envelope(each.act)
                newest = self._proved(each, act, trusted)
                wanted = pin_act.on_record(act, trusted, moment(newest.at))
            except ActRefusedError as error:
                raise StatementError(f"an act on the device: {error}") from error
            if wanted.device_id != str(self.device):
                raise StatementError(f"an act on the device: it is about {wanted.device_id}")
        told = (self.state, None if self.newest is None else self.newest.fingerprint)
        if newest is not None and told != (newest.state, newest.fingerprint):
            raise StatementError("the device's state or newest key is not what its last act has made of it")
        return newest

    def gave_key(self, fingerprint: str, trusted: TrustedRoot) -> str | None:
        """The act by which this is the device's newest key, by its hash; None if it is not. StatementError.

        Act, its approvals and its receipt are verified, whatever the answer says beside them.
        """
        for each in reversed(self.said.acts):
            act = _envelope(each.act)
            done = self._proved(each, act, trusted)
            if (done.state, done.fingerprint) != ("active", fingerprint):
                return None
            try:
                said = pin_act.on_record(act, trusted, moment(done.at))
            except ActRefusedError as error:
                raise StatementError(f"an act: {error}") from error
            if said.device_id == str(self.device) and pin_act.gives_key(said):
                return act.payload_sha256
        return None

    def words(self, trusted: TrustedRoot) -> tuple[SaidWord, ...]:
        """Of the authority to this device, to open it or for a new anchor, and each by an approved act. StatementError.

        That there was no other nobody can prove.
        """
        found = []
        for each in self.said.words:
            try:
                word, act = _envelope(each.authorisation), _envelope(each.act)
                said, _ = rekey.on_record(word, act, trusted, moment(each.at))
            except (ActRefusedError, RootError, RekeyError, PublicKeyError) as error:
                raise StatementError(f"a word to the device: {error}") from error
            if said.device_id != self.device:
                raise StatementError(f"a word to the device: it is to {said.device_id}")
            found.append(SaidWord(said.step, each.at, word.payload_sha256))
        return tuple(found)

    def _proved(self, held: _HeldAct, act: Envelope, trusted: TrustedRoot) -> DoneAct:
        repin = None if bytes(held.repin) == b"null" else _envelope(held.repin)
        if repin is not None and read(repin, Repin).act_sha256 != act.payload_sha256:
            raise StatementError("the new key's statement is of another act")
        receipt = _envelope(held.receipt)
        told = act_receipt.told(trusted, str(self.device), act if repin is None else repin, receipt)
        return DoneAct(told.state, told.fingerprint, told.registered_at)


def _envelope(raw: msgspec.Raw) -> Envelope:
    try:
        return Envelope.from_json(bytes(raw))
    except EnvelopeError as error:
        raise StatementError(f"what the registry shows: {error}") from error
