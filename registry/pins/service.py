"""Pinning: check, insert, answer with a receipt. What the registry promises about a device is told here.

Unique constraints decide; what was there is read only after an insert was refused. Never answers without a receipt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner
from registry.clock import stamp, utc_now
from registry.database import Database
from registry.errors import RefusedError
from registry.pins import acts_store, clash, later, store
from registry.pins.checks import CheckedPin, check_pin
from registry.pins.clash import Clash
from registry.pins.closing import CheckedCompletion, check_completion, check_signed
from registry.pins.intake import Intake
from registry.pins.reading import UntrustedError
from registry.pins.receipts import Receipts
from registry.pins.record import Entry, PinRecord
from registry.pins.settling import Settling
from registry.pins.store import StoredPin
from registry.pins.together import Together
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.root import TrustedRoot

_log = logging.getLogger(__name__)


class PinService:
    """The registry's answer to pin, complete and find. Safe to call from many threads."""

    def __init__(
        self, database: Database, trusted: TrustedRoot, signer: ReceiptSigner, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._trusted = trusted
        receipts = Receipts(database=database, trusted=trusted, signer=signer, now=now)
        self._receipts = replace(receipts, together=Together(receipts.make).receipt)
        self._settling = Settling(database=database, trusted=trusted, signer=signer, receipts=receipts, now=now)
        self._intake = Intake(trusted)
        self._now = now

    def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        """Pin the device (provisional); the same statement again gives the same receipt.

        Raises RefusedError, ReceiptUnavailableError when the pin is stored and its receipt must be asked for again, or
        UntrustedError when it is stored without a receipt and must not get one any more.
        """
        checked = check_pin(self._trusted, device, statement, order)
        inserted = self._insert_pin(checked)
        # A crash right here leaves a pin without receipt; the same request again signs the receipt that is due.
        return self._known(device) if inserted is None else self._receipts.complete(inserted)

    def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        """Make the pin active; the same completion again gives the same receipt. Raises as `pin` does."""
        done = check_signed(self._trusted, device, completion)
        with self._database.read() as connection:
            found = store.load_with_order(connection, device)
        if found is None:
            raise RefusedError(Code.NOT_PINNED, f"device {device} has no pin: pin it first")
        stored, order = found
        record = self._receipts.complete(stored)
        checked = check_completion(self._trusted, done, completion, record, order)
        try:
            (inserted,) = self._database.writing(
                lambda connection: self._intake.completions(connection, [checked], stamp(self._now()))
            )
        except IntegrityError as error:
            return self._completed_before(checked, error)
        pin = replace(stored.pin, receipt=record.pin.receipt)
        return self._receipts.complete(replace(stored, pin=pin, completion=inserted))

    def find(self, device: DeviceId) -> PinRecord | None:
        """What the registry holds about the device; None without a pin. May raise ReceiptUnavailableError."""
        with self._database.read() as connection:
            stored = store.load(connection, device)
        return None if stored is None else self._receipts.complete(stored)

    def order_of(self, device: DeviceId) -> Envelope:
        """The order that a device was pinned under; it has a pin."""
        with self._database.read() as connection:
            found = store.load_with_order(connection, device)
        if found is None:
            raise AssertionError(f"device {device}: a pin that was found is not there")
        return found[1]

    def _insert_pin(self, checked: CheckedPin) -> StoredPin | None:
        """The pin as it was committed; None if this very statement was there before."""
        try:
            return self._try_insert(checked)
        except IntegrityError as error:
            if self._pinned_before(checked, error):
                return None
            # PostgreSQL only: another first pin stored the same order between our look and our insert.
            return self._try_insert(checked)

    def _try_insert(self, checked: CheckedPin) -> StoredPin:
        (stored,) = self._database.writing(
            lambda connection: self._intake.pins(connection, [checked], stamp(self._now()))
        )
        self._intake.papers.seen(checked.order_envelope)
        return stored

    def _pinned_before(self, checked: CheckedPin, error: IntegrityError) -> bool:
        """True if this very statement is stored, False if nothing stored explains the refusal; raises what does."""
        with self._database.read() as connection:
            rivals = store.rivals(connection, checked)
            owners = store.nonce_owners(connection, checked.nonces)
        if any(each.statement_sha256 == checked.envelope.payload_sha256 for each in rivals):
            return True
        refusal = clash.of_pin(checked, rivals, owners)
        if refusal is None:
            return False
        raise self._refused(refusal, checked) from error

    def _completed_before(self, checked: CheckedCompletion, error: IntegrityError) -> PinRecord:
        """The record if this very statement is stored; raises what stands against it."""
        record = self._known(checked.device)
        with self._database.read() as connection:
            state = acts_store.newest_state(connection, str(checked.device))
            owners = store.nonce_owners(connection, checked.nonces)
        if state is not None and record.completion is None:
            text = f"device {checked.device} was scrapped before it was finished: its id is burned"
            raise RefusedError(Code.DEVICE_SCRAPPED, text, record) from error
        refusal = clash.of_completion(checked, record, owners)
        if refusal is not None:
            raise self._refused(refusal, checked) from error
        return record

    def _refused(self, refusal: Clash, checked: CheckedPin | CheckedCompletion) -> RefusedError:
        holder = DeviceId.parse(refusal.holder)
        record = self._known(holder)
        if refusal.code is Code.KEY_ON_OTHER_DEVICE:
            record = replace(record, later=self._later(holder, checked))
        return RefusedError(refusal.code, refusal.message, record)

    def _later(self, holder: DeviceId, checked: CheckedPin | CheckedCompletion) -> Entry | None:
        """The holder's later key that stands against the statement, if one does; ReceiptUnavailableError."""
        try:
            reading = self._settling.read(holder)
        except UntrustedError:  # nothing of it is shown; the refusal stands all the same
            _log.exception("a refusal is not proved: what is stored about the holder does not verify")
            return None
        return None if reading is None else later.standing_against(checked, reading)

    def _known(self, device: DeviceId) -> PinRecord:
        """What is held already, and is durable when it is told."""
        record = self.find(device)
        self._database.assure()
        if record is None:
            raise AssertionError(f"device {device}: a pin that was committed is not there")
        return record
