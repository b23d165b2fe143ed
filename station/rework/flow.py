"""What happens to a finished, locked unit that gets another key, another anchor, or is opened. The story is this file.

The rules are those of `station.provision`: each step means "make it so" and takes the evidence of the one before; what
is written is read back; power loss, a yanked cable or a lost answer is met by running again from the top. The order of
a new key: made beside the old one, pinned, only then in use, and the old one ended last, at its own end. So the key in
use is always one that is pinned; where the act lets the old key end at once, pinning and use follow each other closely.

Never: a step that two people did not approve (registry, signer and device each judge); the same word said twice; a
key in use that is not pinned.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fixtures.device import Anchor, Identity
from fixtures.slot import Slot
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.held import DoneAct, Held
from station.events import ReworkStep, ReworkWent
from station.faults import fault
from station.leaves import LEAF_ERRORS, classify
from station.rework.bench import ReworkBench
from station.rework.evidence import Asked, InUse, Met, NewKey, Pinned, Reworked
from station.rework.look import Look, named
from station.rework.showing import show
from station.unit import Unit
from station.writes import make_so
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.proof import CHALLENGE_BYTES
from trust.rekey import Step
from trust.statement import StatementError


class Rework:
    """One act, one unit, one insertion."""

    def __init__(self, bench: ReworkBench, slot: Slot) -> None:
        self.bench = bench
        self.slot = slot
        self.at = ReworkStep.MET
        self.unit = Unit(bench, slot)
        self.wrote = False
        self.seen: Identity | None = None

    async def run(self) -> Reworked:
        """From the unit in its slot to what the act wants. Raises a Fault; running again is safe."""
        asked = await self.ask(await self.meet())
        match self.bench.wanted.change:
            case "new-anchor":
                return await self.new_anchor(asked)
            case "unlock":
                return await self.unlock(asked)
            case _:
                new = await self.make_key(asked)
                pinned = await self.pin(new)
                # — from here on the registry takes both keys, or the new one alone, as the act says —
                in_use = await self.commit(pinned)
                return await self.end_old_key(in_use)

    async def close(self) -> None:
        """Give the link back."""
        await self.unit.close()

    async def meet(self) -> Met:
        """The unit in the slot is the act's, and finished."""
        async with self._step(ReworkStep.MET):
            await self.unit.open()
            identity = self.seen = await self.unit.meet()
            if identity.device_id != self.bench.device_id:
                text = f"asked for {self.bench.device_id}, in slot {self.slot.config.name} is {identity.device_id}"
                raise fault("unit-another", text)
            if not identity.locked and self.bench.wanted.change != "unlock":
                raise fault("unit-open", f"device {identity.device_id}")
            await self._ended()
            stored = await self.unit.device.public_key()
            return Met(identity=identity, key=stored, anchor=await self.unit.device.read_anchor())

    async def ask(self, met: Met) -> Asked:
        """What the registry has done to it, and whether that was this act."""
        async with self._step(ReworkStep.ASKED):
            held = await self._held()
            if held.state == "scrapped":
                raise fault("device-scrapped", "the registry says so")
            try:
                words = frozenset(each.sha256 for each in held.words(self.bench.root))
            except StatementError as error:
                raise fault("registry-wrong", str(error)) from error
            return Asked(met=met, held=held, done=self._done(held), words=words)

    async def make_key(self, asked: Asked) -> NewKey:
        """A new key beside the one in use, made by leave of the authority; there already, or now."""
        async with self._step(ReworkStep.KEY_MADE):
            if asked.done is not None:
                return NewKey(asked=asked, key=await self._pinned_key(asked, asked.done), leave=None)
            wanted = self.bench.wanted
            self._require_key(asked.met)
            leave = await self.bench.leave()
            await self._clear_beside(leave)
            await make_so(
                True, read=self._new_key_there, write=self._generate, reopen=self._back,
                differs="generation-failed",
            )  # fmt: skip
            leave, beside = await self.bench.leave(), await self.unit.device.key_beside()
            if leave is None or beside is None:
                raise fault("key-lost", "the new key is gone again")
            if (beside.public_key.key_type.value, beside.job) != (wanted.key_type, asked.met.key.job):
                raise fault("key-changed", "the new key is of another type or job than the act and the unit say")
            return NewKey(asked=asked, key=beside.public_key, leave=leave)

    async def pin(self, new: NewKey) -> Pinned:
        """The unit shows the new key over a challenge, and vouches for it with the old one: then it is pinned."""
        async with self._step(ReworkStep.PINNED):
            if new.leave is None:
                return Pinned(new=new, held=new.asked.held)
            shown = await show(self.bench, self.unit, new, new.leave)
            self.wrote = True
            try:
                held = await self.bench.registry.repin(self.bench.device_id, self.bench.act, shown)
            except CloudUnreachableError:
                held = await self._held()  # the outcome is unknown: ask before anything else
                if self._done(held) is None:
                    raise
            except CloudRefusedError as refused:
                if refused.code is Code.PROOF_INVALID:
                    raise fault("bad-proof", str(refused)) from refused
                raise
            done = self._done(held)
            if done is None or done.fingerprint != new.key.fingerprint:
                raise fault("registry-wrong", "it was told of the new key and does not have it by this act")
            return Pinned(new=new, held=held)

    async def commit(self, pinned: Pinned) -> InUse:
        """The new key is in use, and so it is after a power cycle; it answers."""
        async with self._step(ReworkStep.COMMITTED):
            new = pinned.new.key

            async def say() -> None:
                await self._say(Step.COMMIT, new)

            await make_so(new, read=self._key_in_use, write=say, reopen=self._back, differs="key-changed")
        await self._verify(pinned.new.asked.met, new, pinned.new.asked.met.anchor, locked=True)
        return InUse(pinned=pinned)

    async def end_old_key(self, in_use: InUse) -> Reworked:
        """The old key is erased, once it is good no more; until then it stays beside."""
        async with self._step(ReworkStep.OLD_KEY_ENDED):
            met, new = in_use.pinned.new.asked.met, in_use.pinned.new.key
            old = in_use.pinned.held.key(self.bench.wanted.fingerprint)
            until = (old.until or "") if old is not None and old.state in {"active", "expiring"} else ""
            if not until:

                async def say() -> None:
                    await self._say(Step.END_OLD_KEY, new)

                await make_so(True, read=self._alone, write=say, reopen=self._back, differs="key-changed")
            look = Look(named(met.anchor), in_use.pinned.new.asked.words)
            return Reworked(
                met=met, look=look, fingerprint=new.fingerprint, already=not self.wrote, old_key_until=until
            )

    async def new_anchor(self, asked: Asked) -> Reworked:
        """The anchor that the act wants is in flash, after a power cycle too."""
        wanted = self.bench.anchor
        if wanted is None:
            raise fault("setup", "the act wants a new anchor: name the order that has it (--order)")
        met = asked.met
        async with self._step(ReworkStep.ANCHORED):
            self._require_key(met)

            async def say() -> None:
                await self._say(Step.NEW_ANCHOR)

            await make_so(wanted, read=self._anchor, write=say, reopen=self._back, differs="anchor-differs")
        await self._verify(met, met.key.public_key, wanted, locked=True)
        return self._as_before(asked, wanted)

    async def unlock(self, asked: Asked) -> Reworked:
        """The unit is open, after a power cycle too."""
        met = asked.met
        async with self._step(ReworkStep.UNLOCKED):
            self._require_key(met)

            async def say() -> None:
                await self._say(Step.UNLOCK)

            await make_so(False, read=self.unit.locked, write=say, reopen=self._back, differs="outcome-unknown")
        await self._verify(met, met.key.public_key, met.anchor, locked=False)
        return self._as_before(asked, met.anchor)

    def _as_before(self, asked: Asked, anchor: Anchor | None) -> Reworked:
        """With the key that it had."""
        fingerprint, look = asked.met.key.public_key.fingerprint, Look(named(anchor), asked.words)
        return Reworked(met=asked.met, look=look, fingerprint=fingerprint, already=not self.wrote)

    def _require_key(self, met: Met) -> None:
        found, wanted = met.key.public_key.fingerprint, self.bench.wanted.fingerprint
        if found != wanted:
            raise fault("key-changed", f"it uses {found}, the act is about {wanted}")

    async def _verify(self, met: Met, key: PublicKey, anchor: Anchor | None, *, locked: bool) -> None:
        """After a power cycle: the same unit, this key, which answers, this anchor, and the lock as it must be."""
        async with self._step(ReworkStep.VERIFIED):
            now = (await self.unit.cycle()).identity
            if anchor is None:
                raise fault("anchor-differs", "the unit has none")
            await self.unit.unchanged(met.identity, now, key, met.key.job, anchor)
            if now.locked is not locked:
                raise fault("lock-not-holding", "after the power cycle")
            await self.unit.possession(secrets.token_bytes(CHALLENGE_BYTES), "verify", key, met.identity)

    async def _pinned_key(self, asked: Asked, done: DoneAct) -> PublicKey:
        """The key that the registry has pinned by this act, as the unit has it: in use already, or beside."""
        if asked.met.key.public_key.fingerprint == done.fingerprint:
            return asked.met.key.public_key
        beside = await self.unit.device.key_beside()
        if beside is None or beside.old or beside.public_key.fingerprint != done.fingerprint:
            raise fault("key-lost", f"the registry has pinned {done.fingerprint} by this act, the unit has it not")
        return beside.public_key

    async def _clear_beside(self, leave: Envelope | None) -> None:
        """No key is beside that this act did not have made: one of unknown origin is abandoned, never pinned."""
        beside = await self.unit.device.key_beside()
        if beside is None or (leave is not None and not beside.old):
            return
        if beside.old:
            raise fault("unit-between-keys", f"an old key, {beside.public_key.fingerprint}, is not ended")

        async def say() -> None:
            await self._say(Step.ABANDON, beside.public_key)

        await make_so(True, read=self._alone, write=say, reopen=self._back, differs="key-changed")

    async def _back(self) -> None:
        """The unit on a fresh link, with power: a word that was not heard dies with it, so a cycle harms nothing."""
        await self.unit.open()
        await self.unit.meet()

    async def _generate(self) -> None:
        self.wrote = True
        await self.unit.key_ended(await self.bench.say(self.unit.device, Step.NEW_KEY))

    async def _say(self, step: Step, new: PublicKey | None = None) -> None:
        self.wrote = True
        await self.bench.say(self.unit.device, step, new)

    async def _held(self) -> Held:
        held = await self.bench.registry.held(self.bench.device_id)
        if held is None:
            raise fault("act-refused", "the registry has no pin of this device")
        return held

    def _done(self, held: Held) -> DoneAct | None:
        try:
            return held.done(self.bench.act, self.bench.root)
        except (StatementError, ValueError) as error:
            raise fault("registry-wrong", str(error)) from error

    async def _ended(self) -> None:
        await self.unit.key_ended(await self.unit.device.generation())

    async def _new_key_there(self) -> bool:
        await self._ended()
        beside = await self.unit.device.key_beside()
        return beside is not None and not beside.old

    async def _alone(self) -> bool:
        return await self.unit.device.key_beside() is None

    async def _key_in_use(self) -> PublicKey:
        return (await self.unit.device.public_key()).public_key

    async def _anchor(self) -> Anchor | None:
        return await self.unit.device.read_anchor()

    @asynccontextmanager
    async def _step(self, name: ReworkStep) -> AsyncIterator[None]:
        clock, slot = self.bench.clock, self.slot.config.name
        self.at, began = name, clock.monotonic()
        self.bench.emit(ReworkWent(at=clock.utc(), slot=slot, step=name, done=False))
        try:
            yield
        except LEAF_ERRORS as error:
            raise classify(error) from error
        seconds = round(clock.monotonic() - began, 6)
        self.bench.emit(ReworkWent(at=clock.utc(), slot=slot, step=name, done=True, seconds=seconds))
