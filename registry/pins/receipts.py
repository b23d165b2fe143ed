"""The registry's signed answer to what it stored: the receipt due for a stored row, signed once and kept.

Signs outside any transaction, and only from what a committed row says, so a crash or a silent signer loses nothing:
the next request that touches the row gets exactly the receipt that was due.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError
from registry.pins import store
from registry.pins.record import Entry, PinRecord, State
from registry.pins.store import Stored, StoredPin
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.statement import Receipt, StatementError, verify

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """Gives stored pins their receipts."""

    database: Database
    trusted: TrustedRoot
    signer: ReceiptSigner

    def complete(self, stored: StoredPin) -> PinRecord:
        """The record with every receipt it is due; ReceiptUnavailableError if one is missing and cannot be signed."""
        done = stored.completion
        return PinRecord(
            device=stored.device,
            pin=self._entry(stored, stored.pin, "pin", "provisional"),
            completion=None if done is None else self._entry(stored, done, "completion", "active"),
        )

    def _entry(self, pin: StoredPin, each: Stored, subject: Literal["pin", "completion"], state: State) -> Entry:
        receipt = each.receipt or self._sign(self._due(pin, each, subject, state))
        return Entry(statement=each.statement, registered_at=each.registered_at, receipt=receipt)

    def _due(self, pin: StoredPin, each: Stored, subject: Literal["pin", "completion"], state: State) -> Receipt:
        return Receipt(
            environment=self.trusted.root.environment,
            root_sha256=self.trusted.sha256,
            registry=self.trusted.root.registry,
            subject=subject,
            statement_sha256=each.statement.payload_sha256,
            order_id=pin.order_id,
            job=pin.job,
            device_id=str(pin.device),
            fingerprint=pin.fingerprint,
            state=state,
            registered_at=each.registered_at,
        )

    def _sign(self, receipt: Receipt) -> Envelope:
        try:
            signed = self.signer.sign_receipt(receipt)
            _require_same(receipt, verify(signed, Receipt, self.trusted.root.receipt_key))
        except (SignerUnavailableError, SignerError, StatementError) as error:
            _log.warning("a receipt is not signed", exc_info=error, extra={"part": "signer"})
            raise ReceiptUnavailableError(
                f"stored, but its receipt cannot be signed now ({error}): send the same request again"
            ) from error
        return self._keep(receipt.statement_sha256, signed)

    def _keep(self, statement_sha256: str, signed: Envelope) -> Envelope:
        """Store it; if another thread was faster, its receipt is the one."""
        try:
            self.database.writing(lambda connection: store.insert_receipts(connection, {statement_sha256: signed}))
        except IntegrityError:
            with self.database.read() as connection:
                return store.load_receipt(connection, statement_sha256)
        return signed


def _require_same(wanted: Receipt, found: Receipt) -> None:
    if found != wanted:
        raise StatementError("the signer signed another receipt than was asked for")
