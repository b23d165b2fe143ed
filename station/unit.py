"""One unit in one slot: the exchanges that the flow needs, over a link that is opened anew when it must be.

Speaks to the device only: no records, no signer, no cloud, no decision about what comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from fixtures.device import (
    Anchor,
    Device,
    DeviceBusyError,
    DeviceError,
    Generation,
    GenerationState,
    Identity,
    NoAnswerError,
    RefusalReason,
    RefusedError,
)  # fmt: skip
from fixtures.slot import Restarted, Slot
from station import checks
from station.ahead import Ahead
from station.faults import Fault, fault
from station.line import Clock
from station.writes import make_so
from trust.identity import JobId
from trust.keys import KeyType, PublicKey
from trust.signed import possession_problem
from trust.statement import Possession

_LOG = logging.getLogger(__name__)
_GENERATE_TRIES = 3
_FIRST_PAUSE_S = 0.0005


class Waits(Protocol):
    """How long whoever works with units waits for a key, and by which clock."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def generation_timeout_s(self) -> float:
        """Seconds that a device may take for a key."""

    @property
    def longest_pause_s(self) -> float:
        """Seconds between two questions to a device that makes one, at most."""


class Unit:
    """The device in a slot, reached through its link."""

    def __init__(self, line: Waits, slot: Slot) -> None:
        self._line = line
        self._slot = slot
        self._device: Device | None = None
        self._anchor: Ahead[Anchor | None] = Ahead()
        self._anchoring: Ahead[None] = Ahead()

    @property
    def device(self) -> Device:
        """The device on the link as it was opened last."""
        if self._device is None:
            raise fault("link-lost", "the port is not open")
        return self._device

    async def open(self) -> None:
        """Open the link anew: at insertion, after a power cycle, after a lost answer."""
        await self._close_link()
        self._device = await self._slot.open()

    async def close(self) -> None:
        """Give the link back, once a write that was begun has ended; idempotent."""
        await self.settle()
        await self._anchor.drop()
        await self._close_link()

    async def settle(self) -> BaseException | None:
        """Nothing is being written when this returns, so that a lamp may say that the unit can be taken out.

        What the write that was begun has raised, if its step did not come to tell it.
        """
        return await self._anchoring.finish()

    async def _close_link(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            try:
                await device.close()
            except DeviceError as error:  # the link is gone either way, and what was done on it stands
                _LOG.info("closing the link: %s", error)

    async def meet(self) -> Identity:
        """Who is there; silence is met with one power cycle: a station that died may have left the power off."""
        try:
            return await self.device.identify()
        except DeviceBusyError:
            # A station died while the device made a key: let it finish; one that never does stays busy below.
            with contextlib.suppress(Fault):
                await self.key_ended(Generation(GenerationState.RUNNING, 0))
        except NoAnswerError:
            if not self._slot.config.power:
                raise
            return (await self.cycle()).identity
        return await self.device.identify()

    async def cycle(self) -> Restarted:
        """Power cycle (or reset): who answers then, and which of the two it really was."""
        restarted = await self._slot.cycle(self.device)
        self._device = restarted.device
        return restarted

    async def generate(self, key_type: str, job: JobId, *, replacing: Identity | None) -> None:
        """Have the device make this job's key and wait for it. Asking again is safe: the same job gets the same key.

        `replacing` is who had the key that may be replaced: asked once more, so that no garbled answer costs a key.
        """
        replace = replacing is not None
        if replacing is not None:
            again = await self.device.identify()
            checks.same_unit(replacing, again)
            if again.job != replacing.job:
                raise fault("garbled", "the unit names another job for its key each time it is asked")
        for _ in range(_GENERATE_TRIES):
            try:
                going = await self.device.generate(KeyType(key_type), job, replace=replace)
            except DeviceBusyError:
                going = Generation(GenerationState.RUNNING, 0)
            except NoAnswerError:
                await self.open()
                continue
            going = await self.key_ended(going)
            if going.state is GenerationState.DONE:
                return
        raise fault("generation-failed")

    async def key_ended(self, going: Generation) -> Generation:
        """Poll until generation ends; IDLE afterwards means that the device restarted meanwhile."""
        clock, line = self._line.clock, self._line
        deadline = clock.monotonic() + line.generation_timeout_s
        pause = 0.0  # a poll takes its time on the wire, in which many a device is done
        while going.state is GenerationState.RUNNING:
            if clock.monotonic() > deadline:
                raise fault("generation-failed", f"no key after {line.generation_timeout_s:.0f} s")
            await asyncio.sleep(pause)
            pause = min(max(pause * 1.5, _FIRST_PAUSE_S), line.longest_pause_s)
            going = await self.device.generation()
        return going

    async def possession(self, challenge: bytes, context: str, key: PublicKey, identity: Identity) -> Possession:
        """Two signatures by the device over one challenge, both verified."""
        first = await self.device.prove(challenge, context)
        second = await self.device.prove(challenge, context)
        proof = Possession(challenge=challenge, context=context, signatures=(first, second))
        wrong = possession_problem(key, identity.device_id, context, proof)
        if wrong is not None:
            raise fault("bad-proof", wrong)
        return proof

    async def unchanged(self, before: Identity, now: Identity, key: PublicKey, job: JobId, anchor: Anchor) -> None:
        """After a power cycle: the same unit with the same key and anchor, read again."""
        checks.same_unit(before, now)
        stored = await self.device.public_key()
        if (stored.public_key, stored.job) != (key, job):
            raise fault("key-changed", "after the power cycle")
        if await self.read_anchor() != anchor:
            raise fault("anchor-differs", "after the power cycle")

    async def still_here(self, before: Identity) -> None:
        """The last look before the completion: green is never for an empty slot, nor for a unit put in since."""
        checks.same_unit(before, await self.device.identify())

    def read_anchor_ahead(self) -> None:
        """Begin reading the anchor now, while the ledger works: reading changes nothing on the unit."""
        self._anchor.begin(self.device.read_anchor())

    async def read_anchor(self) -> Anchor | None:
        """The anchor as the flash chip holds it; what was begun ahead is used once."""
        return await (self._anchor.take() if self._anchor.begun else self.device.read_anchor())

    def write_anchor_ahead(self, wanted: Anchor) -> None:
        """Begin to write the anchor now, while signer and registry work. It comes to its end, whatever they say."""
        self._anchoring.begin(self._write_anchor(wanted))

    async def anchored(self, wanted: Anchor) -> None:
        """The anchor is in flash, read back from the chip: what was begun ahead, or now."""
        if not self._anchoring.begun:
            self.write_anchor_ahead(wanted)
        await self._anchoring.take()

    async def _write_anchor(self, wanted: Anchor) -> None:
        await make_so(
            wanted, read=self.read_anchor, write=lambda: self.device.write_anchor(wanted), reopen=self.open,
            differs="anchor-differs",
        )  # fmt: skip

    async def locked(self) -> bool:
        """Whether the device says that writes are closed."""
        return (await self.device.identify()).locked

    async def write_refused(self, anchor: Anchor) -> None:
        """A write must now be refused; the values are the stored ones, so that a broken lock does no harm."""
        try:
            await self.device.write_anchor(anchor)
        except RefusedError as refused:
            if refused.reason is RefusalReason.LOCKED:
                return
            raise
        raise fault("lock-not-holding", "it took an anchor after the lock")
