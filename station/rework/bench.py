"""What a rework works with, beside its slot: act, registry, ledger, clock; and the authority's word for one step.

Never judges whether a step is due, which the registry does, nor the word, which the device does: what is verified here
is that it is the word that was asked for. Each word is on record before the device hears it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from fixtures.device import Anchor, Authorised, Device, Generation, NoAnswerError, RefusalReason, RefusedError
from station.cloud.devices import Devices
from station.events import ReworkEvent
from station.faults import fault
from station.jobs.leaf import REWORK_ENDED
from station.jobs.stamp import Stamp
from station.line import Clock
from trust import rekey
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError
from trust.pin_act import PinAct
from trust.rekey import RekeyError, Step
from trust.root import TrustedRoot
from trust.statement import Event

BEGAN, WORD, ENDED = "rework-began", "rework-word", REWORK_ENDED
TOLD = (BEGAN, WORD, ENDED)
"""Kinds of event that tell of reworks, with the device's id and no job: it may have been made elsewhere."""


class Memory(Protocol):
    """The ledger, as far as reworks go."""

    async def note(self, event: Event) -> None:
        """Append an event; LedgerError."""

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        """Events of these kinds about a device, oldest first; LedgerError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReworkBench:
    """One approved act on one device, and everything to do it with. `anchor`: of an act that wants a new one."""

    root: TrustedRoot
    act: Envelope
    wanted: PinAct
    anchor: Anchor | None
    registry: Devices
    memory: Memory
    stamp: Stamp
    emit: Callable[[ReworkEvent], None]
    generation_timeout_s: float
    longest_pause_s: float = 0.1
    clock: Clock = field(default_factory=Clock)

    @property
    def device_id(self) -> DeviceId:
        """The device that the act is about."""
        return DeviceId.parse(self.wanted.device_id)

    async def note(self, kind: str, **details: str) -> None:
        """Put on record what happens to the device under this act."""
        details = {"act_sha256": self.act.payload_sha256, **details}
        plain = self.stamp.event(kind, details=details)
        await self.memory.note(msgspec.structs.replace(plain, device_id=self.wanted.device_id))

    async def say(self, device: Device, step: Step, new: PublicKey | None = None) -> Generation:
        """Have the device do a step: its nonce, the authority's word over it, on record, then to the device.

        A word is said once: who does not know what came of it reads back, and another one is over another nonce.
        """
        nonce = await device.rekey_nonce()
        said = await self.registry.authorise(
            self.device_id, self.act, step, nonce, "" if new is None else new.fingerprint
        )
        self._require_asked(said, step, nonce)
        await self.note(WORD, step=step.value, word=said.to_json().decode())
        # A crash here: the word is on record and dies with the nonce; the next run asks for another.
        anchor = self.anchor if step is Step.NEW_ANCHOR else None
        try:
            return await device.rekey_step(Authorised(said.payload, said.signatures[0].sig, anchor))
        except RefusedError as refused:
            if refused.reason is RefusalReason.NO_NONCE:
                raise NoAnswerError("the unit has restarted between nonce and step") from refused
            raise

    async def leave(self) -> Envelope | None:
        """The newest word by which the device was to make a new key, if it is for this very act; None otherwise.

        A word names the act with its approvals: by one more signature on it the act is another one, and a key that was
        made before is not its.
        """
        told = await self.memory.told_of(self.device_id, (WORD,))
        words = [event.details["word"] for event in told if event.details.get("step") == Step.NEW_KEY.value]
        if not words:
            return None
        try:
            found = Envelope.from_json(words[-1].encode())
        except EnvelopeError as error:
            raise fault("ledger-conflict", f"a word of the authority: {error}") from error
        try:
            wrong = rekey.problem(self._authorised(found), self.act, self.wanted, self.stamp.now())
        except (RekeyError, PublicKeyError):
            return None  # of a key that is the authority's no more: nobody would take what was made by it
        return found if wrong is None else None

    def _authorised(self, said: Envelope) -> rekey.Authorisation:
        return rekey.authorised(said, [PublicKey.from_der(each) for each in self.root.root.cloud_keys.authority])

    def _require_asked(self, said: Envelope, step: Step, nonce: bytes) -> None:
        try:
            found = self._authorised(said)
        except (RekeyError, PublicKeyError) as error:
            raise fault("registry-wrong", str(error)) from error
        wrong = rekey.problem(found, self.act, self.wanted, self.stamp.now())
        if wrong is None and (found.step, found.nonce) != (step, nonce):
            wrong = f"the authorisation is for step {found.step.value} or another nonce; asked was {step.value}"
        if wrong is not None:
            raise fault("registry-wrong", wrong)
