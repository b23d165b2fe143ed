"""What happens to a device, from insertion to PASS. The whole story is this file.

Rules of the machine:

* `run` is the table of contents. Each step takes the evidence of the step before it and returns its own; only this
  module makes evidence, so a step in the wrong order does not type-check.
* Every step means "make it so". Power loss, a yanked cable or a second insertion runs again from the top.
* Write ahead, read back, then say so. Comments at the commit points say what a crash right there means.
* Above `sign` nothing beyond the slot has changed. From `pin` on the cloud knows the device, as *provisional*: refused
  in the field until the completion makes the pin active.
* Never: a PASS without a receipt; "retry and see" after an unanswered write; a signing key or a private device key.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from fixtures.device import Identity
from fixtures.indicators import Lamp
from fixtures.slot import Slot
from station import checks, evidence, handshaking, locking, passed
from station.admission import admit, not_too_often
from station.ahead import Ahead, drop, meanwhile
from station.cloud import CloudUnreachableError, PinRecord
from station.events import Step
from station.faults import fault
from station.jobs import OnRecord, RecordConflictError, RecordKind
from station.leasing import sign_pin
from station.line import Line
from station.pinning import completion_there, pin_and_read_back
from station.rework import rekeyed
from station.rework.look import Look, of_order, words_now
from station.statements import anchor_of, completion, event, pin_statement, unit_seen, verification
from station.steps import step
from station.unit import Unit
from station.vetting import fresh_nonces, vet_key
from trust.dsse import Envelope
from trust.proof import CHALLENGE_BYTES
from trust.statement import Completion, Origin, PinStatement, envelope, read


class Provisioning:
    """One attempt: one unit, one insertion."""

    def __init__(self, line: Line, slot: Slot) -> None:
        self.line = line
        self.slot = slot
        self.slot_name = slot.config.name
        self.at = Step.INSERTED
        self.unit = Unit(line, slot)
        self.challenge: Ahead[bytes] = Ahead()  # the signer gives it while the device works
        self.before: Ahead[Sequence[OnRecord]] = Ahead()
        self.seen: Identity | None = None
        self.assigned: evidence.Assigned | None = None
        self.look: Look | None = None

    async def run(self) -> evidence.Passed:
        """Insertion to PASS. Raises a Fault; whatever it raises, running again is safe."""
        inserted = await self.insert()
        identified = await self.identify(inserted)
        assigned = await self.assign(identified)
        keyed = await self.key(assigned)
        proven = await self.prove(keyed)
        if assigned.registered is not None:
            pinned = await self.take_over(proven, assigned.registered)
        else:
            vetted = await self.vet(proven)
            intended = await self.intend(vetted)
            # — nothing beyond the slot has changed above this line —
            signed = await self.sign(intended)
            pinned = await self.pin(signed)
        # — point of no return: the cloud now knows this device —
        anchored = await self.anchor(pinned)
        verified = await self.verify(anchored)
        locked = await self.lock(verified)
        return await self.complete(locked)

    async def close(self) -> None:
        """Give the link back, and the job to the outbox."""
        if self.assigned is not None:
            self.line.in_work.discard(self.assigned.job.job_id)
        await drop(self.before, self.challenge)
        await self.unit.close()

    @step(Step.INSERTED)
    async def insert(self) -> evidence.Inserted:
        """1: open the slot's port."""
        await self.unit.open()
        return evidence.Inserted(self.slot.config)

    @step(Step.IDENTIFIED)
    async def identify(self, inserted: evidence.Inserted) -> evidence.Identified:
        """2: who it is, whether it fits the order, and what the registry says of it."""
        identity = self.seen = await self.unit.meet()
        self.line.emit(unit_seen(self.line, inserted.slot, identity))
        checks.right_unit(self.line.work, identity)
        self.before.begin(self.line.jobs.of_device(identity.device_id))
        try:
            registered = await self.line.cloud.history(identity.device_id)
        except CloudUnreachableError:
            return evidence.Identified(identity=identity, registered=None, asked=False)
        if registered is not None:
            checks.right_order(self.line, identity.device_id, registered)
        return evidence.Identified(identity=identity, registered=registered, asked=True)

    @step(Step.ASSIGNED)
    async def assign(self, identified: evidence.Identified) -> evidence.Assigned:
        """The job is durable before the first command that changes the device."""
        identity, jobs = identified.identity, self.line.jobs
        adopt = checks.job_to_adopt(self.line, identity, identified.registered)
        # Judged before the job is opened: a unit that cannot begin here now is left as it is, and its job to others.
        admit(self.line, identified, await self.before.take(), self.slot_name)
        try:
            now = await jobs.begin(identity.device_id, self.line.work.order_id, slot=self.slot_name, adopt=adopt)
        except RecordConflictError as error:
            raise fault("job-conflict", f"{error}{checks.pinned_by(identified.registered)}") from error
        # A crash here leaves a job without a key: the next insertion finds the job and goes on.
        self.line.take_in_hand(now.job.job_id)
        self.assigned = evidence.Assigned(identified=identified, job=now.job, attempt=now.attempts, records=now.records)
        not_too_often(now, identified, self.line.max_attempts)
        return self.assigned

    @step(Step.KEYED)
    async def key(self, assigned: evidence.Assigned) -> evidence.Keyed:
        """3: the device holds this job's key: there already, collected, or generated now."""
        identity, job = assigned.identity, assigned.job.job_id
        self.challenge.begin(self.line.challenge("pin", assigned.job))
        if identity.job != job:
            await self._make_key(assigned)
        stored = await self.unit.device.public_key()
        if stored.job != job:
            raise fault("key-changed", f"its key is bound to job {stored.job}, not to {job}")
        act = await rekeyed.act_of(self.line, self.unit, assigned, stored.public_key)
        if act is not None:  # a finished unit that got this key later: it passes nothing here, and leaves locked
            raise await rekeyed.turned_away(self.line, self.unit, assigned, stored.public_key, act)
        own = not assigned.job.adopted
        origin: Origin = "generated" if own else "collected"
        return evidence.Keyed(assigned=assigned, key=stored.public_key, origin=origin, origin_proven=own)

    async def _make_key(self, assigned: evidence.Assigned) -> None:
        identity, job = assigned.identity, assigned.job
        known = assigned.registered is not None or RecordKind.INTENT in assigned.records
        replace = checks.may_make_key(self.line, identity, known=known, asked=assigned.identified.asked)
        if replace:
            await self.line.jobs.note(
                event(self.line, "key-replaced", job, assigned.attempt, bound_to=str(identity.job))
            )
        await self.unit.generate(self.line.work.key_type, job.job_id, replacing=identity if replace else None)

    @step(Step.PROVEN)
    async def prove(self, keyed: evidence.Keyed) -> evidence.Proven:
        """4: the device signs the signer's one-use challenge, twice."""
        possession = await self.unit.possession(await self.challenge.take(), "pin", keyed.key, keyed.assigned.identity)
        return evidence.Proven(keyed=keyed, possession=possession)

    @step(Step.VETTED)
    async def vet(self, proven: evidence.Proven) -> evidence.Vetted:
        """5: the key is fit to be pinned."""
        return evidence.Vetted(proven=proven, vetting=vet_key(proven))

    @step(Step.INTENDED)
    async def intend(self, vetted: evidence.Vetted) -> evidence.Intended:
        """6: the exact statement bytes are durable; an earlier attempt's bytes stay the ones."""
        keyed, assigned = vetted.proven.keyed, vetted.proven.keyed.assigned
        if RecordKind.PIN_REFUSED in assigned.records:
            raise fault("pin-refused", "on record from an earlier attempt")
        self.unit.read_anchor_ahead()
        intent = assigned.records.get(RecordKind.INTENT)
        if intent is None:
            intent = envelope(pin_statement(self.line, vetted, bench_emulated=self.slot.config.emulated))
            await self.line.jobs.record(assigned.job.job_id, RecordKind.INTENT, intent)
        # A crash here: the next attempt finds these bytes and sends no others.
        statement = read(intent, PinStatement)
        return evidence.Intended(assigned=assigned, key=keyed.key, statement=statement, payload=intent.payload)

    @step(Step.SIGNED)
    async def sign(self, intended: evidence.Intended) -> evidence.Signed:
        """7: the signer signs the intended bytes; the envelope is durable and in the outbox. 9 begins beside."""
        assigned, records = intended.assigned, intended.assigned.records
        self.unit.write_anchor_ahead(anchor_of(self.line))  # it needs nothing of what signer and registry say
        pin = records.get(RecordKind.PIN)
        if pin is None:
            self.line.headroom.asks(assigned.identity.device_id, Step.SIGNED)
            pin = await sign_pin(self.line, intended.statement)
            # A crash here: the signer has counted and kept the signature; asking again gives the same bytes.
            checks.signed_exactly(intended.payload, pin, self.line.root.root.pin_key(self.line.station))
            await self.line.jobs.record(assigned.job.job_id, RecordKind.PIN, pin)
            self.line.headroom.signed(assigned.identity.device_id)
        return evidence.Signed(assigned=assigned, key=intended.key, pin=pin)

    @step(Step.PINNED)
    async def pin(self, signed: evidence.Signed) -> evidence.Pinned:
        """8: the registry pins, provisionally; its receipt is verified, durable, and the pin is read back."""
        assigned, device = signed.assigned, signed.assigned.identity.device_id
        receipt = assigned.records.get(RecordKind.PIN_RECEIPT)
        if receipt is None:
            # A crash or a lost answer here: the registry has the pin; sending again gives the same receipt.
            receipt = await pin_and_read_back(self.line, signed.pin, assigned)
        elif assigned.identified.asked:
            # It knew no pin a moment ago: the outbox has brought it since, or the registry has lost it.
            checks.read_back(self.line.root, signed.pin, await self.line.cloud.history(device), answer=receipt)
        return evidence.Pinned(assigned=assigned, key=signed.key, pin=signed.pin, receipt=receipt)

    @step(Step.PINNED)
    async def take_over(self, proven: evidence.Proven, registered: PinRecord) -> evidence.Pinned:
        """8, when the registry already has this very key: go on with its statement, receipt and job."""
        assigned, key, job = proven.keyed.assigned, proven.keyed.key, proven.keyed.assigned.job.job_id
        checks.same_receipt(registered, assigned.records)
        try:
            await self.line.jobs.record(job, RecordKind.PIN, registered.statement)
            await self.line.jobs.record(job, RecordKind.PIN_RECEIPT, registered.receipt)
        except RecordConflictError as error:  # begun here with other bytes, finished elsewhere
            raise fault("job-conflict", f"{error}{checks.pinned_by(registered)}") from error
        return evidence.Pinned(assigned=assigned, key=key, pin=registered.statement, receipt=registered.receipt)

    @step(Step.ANCHORED)
    async def anchor(self, pinned: evidence.Pinned) -> evidence.Anchored:
        """9: cloud key, authority key and address of the order in flash, read back from the chip; begun with 7."""
        wanted = anchor_of(self.line)
        await self.unit.anchored(wanted)
        return evidence.Anchored(pinned=pinned, anchor=wanted)

    @step(Step.VERIFIED)
    async def verify(self, anchored: evidence.Anchored) -> evidence.Verified:
        """10: after a power cycle id, key and anchor are the same, the key answers, and unit and cloud meet live."""
        pinned, assigned = anchored.pinned, anchored.pinned.assigned
        restarted = await self.unit.cycle()
        await self.unit.unchanged(
            assigned.identity, restarted.identity, pinned.key, assigned.job.job_id, anchored.anchor
        )
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        possession = await self.unit.possession(challenge, "verify", pinned.key, assigned.identity)
        met = await handshaking.met(self.line, self.unit, self.slot_name, pinned)
        # A crash here: the report is on record, and the next attempt carries nothing anew.
        return evidence.Verified(anchored=anchored, verification=verification(restarted.kind, possession, met))

    @step(Step.LOCKED)
    async def lock(self, verified: evidence.Verified) -> evidence.Locked:
        """11: writes closed, after a power cycle a write is refused, and the device signs its closing report."""
        anchored = verified.anchored
        pinned, job = anchored.pinned, anchored.pinned.assigned.job.job_id
        self.challenge.begin(self.line.challenge("report", pinned.assigned.job))
        closing = await locking.locked(
            self.unit, pinned.assigned.identity, pinned.key, job, anchored.anchor, work=self.line.work,
            challenge=self.challenge.take,
        )  # fmt: skip
        fresh_nonces(pinned.pin, verified.verification, closing)
        return evidence.Locked(verified=verified, closing=closing)

    @step(Step.PASSED)
    async def complete(self, locked: evidence.Locked) -> evidence.Passed:
        """12: the completion is signed and durable, and the unit is still there; only then green."""
        pinned = locked.verified.anchored.pinned
        done = await self._finished_before(pinned) or await self._finish(locked)
        await self.line.light(self.slot_name, Lamp.PASS)
        return evidence.Passed(pinned=pinned, completion=done, look=self.look)

    async def _finished_before(self, pinned: evidence.Pinned) -> Envelope | None:
        """The completion of an earlier attempt, judged and on record here; the registry's, if it took another one."""
        assigned, records = pinned.assigned, pinned.assigned.records
        here, there = records.get(RecordKind.COMPLETION), await completion_there(self.line, assigned)
        passed.before(self.line, pinned, here, there, refused=records.get(RecordKind.COMPLETION_REFUSED))
        if here is None and there is not None:  # finished at another station: its completion is this ledger's too
            await self._pass(assigned, there)
        if here is not None or there is not None:
            words = await words_now(self.line.cloud, self.line.root, assigned.identity.device_id)
            await self.unit.still_here(assigned.identity)  # a look younger than all of them
            self.look = Look(of_order(self.line.work), words)
        return there or here

    async def _finish(self, locked: evidence.Locked) -> Envelope:
        assigned = locked.verified.anchored.pinned.assigned
        done = await meanwhile(self.unit.still_here(assigned.identity), self._signed(locked))
        # A unit gone by here, or a crash: signed and counted once; the same request gives the same bytes again.
        await meanwhile(self.unit.still_here(assigned.identity), self._pass(assigned, done))
        # From here on the unit has passed, whatever happens to lamp, screen or power; the outbox tells the registry.
        # Gone at this last look: no green, and the next insertion shows *already passed*.
        return done

    async def _pass(self, assigned: evidence.Assigned, done: Envelope) -> None:
        await self.line.jobs.record(assigned.job.job_id, RecordKind.COMPLETION, done)
        self.line.headroom.passed(assigned.identity.device_id)

    async def _signed(self, locked: evidence.Locked) -> Envelope:
        pinned, jobs = locked.verified.anchored.pinned, self.line.jobs
        intent = pinned.assigned.records.get(RecordKind.COMPLETION_INTENT)
        if intent is None:
            checks.as_declared(pinned.pin, pinned.assigned.identity, self.slot.config)
            intent = envelope(completion(self.line, locked, bench_emulated=self.slot.config.emulated))
            await jobs.record(pinned.assigned.job.job_id, RecordKind.COMPLETION_INTENT, intent)
        # A crash here: these bytes are the ones that will be signed.
        self.line.headroom.asks(pinned.assigned.identity.device_id, Step.PASSED)
        done = await self.line.signer.sign_completion(read(intent, Completion), pinned.pin, pinned.receipt)
        checks.signed_exactly(intent.payload, done, self.line.root.root.completion_key(self.line.station))
        return done
