"""The registry's signed answer to what it stored: the receipt due for a stored row, signed once and kept.

Signs outside any transaction, and only from what a committed row says, so a crash or a silent signer loses nothing:
the next request that touches the row gets exactly the receipt that was due. Never believes a row that was there before:
the readers' function must find nothing against it, and that a row like it would be taken in now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError
from registry.pins import store
from registry.pins.reading import UntrustedError, judged, require_due
from registry.pins.record import Entry, PinRecord
from registry.pins.rows import of_device
from registry.pins.store import Stored, StoredPin
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.pin_act import State
from trust.root import TrustedRoot
from trust.statement import Receipt, StatementError, verify

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """Gives stored pins their receipts."""

    database: Database
    trusted: TrustedRoot
    signer: ReceiptSigner
    now: Callable[[], datetime]
    together: Callable[[Receipt], Envelope] | None = None
    """Makes a receipt beside others that are wanted at this moment (`registry.pins.together`)."""

    def complete(self, stored: StoredPin) -> PinRecord:
        """The record with every receipt it is due; ReceiptUnavailableError if one is missing and cannot be signed.

        UntrustedError if one is missing and must not be signed.
        """
        stored = self._proved(stored)
        done = stored.completion
        return PinRecord(
            device=stored.device,
            pin=self._entry(stored, stored.pin, "pin", "provisional"),
            completion=None if done is None else self._entry(stored, done, "completion", "active"),
            life=stored.life,
        )

    def complete_all(self, stored: Sequence[StoredPin]) -> list[PinRecord | ReceiptUnavailableError | UntrustedError]:
        """As `complete`, for many: what is missing is signed in one request and kept in one transaction."""
        proved = [self._proved_or_why(pin) for pin in stored]
        good = [pin for pin in proved if isinstance(pin, StoredPin)]
        due = {each.statement_sha256: each for pin in good for each in self._missing(pin)}
        made = self._made(due) if due else {}
        return [_record(pin, made) if isinstance(pin, StoredPin) else pin for pin in proved]

    def make(self, receipts: Sequence[Receipt]) -> list[Envelope | Exception]:
        """Each receipt, signed and kept; or the ReceiptUnavailableError that says why there is none."""
        if len(receipts) > 1:
            made = self._made({each.statement_sha256: each for each in receipts})
            return [made[each.statement_sha256] for each in receipts]
        try:
            return [self._sign(receipts[0])]
        except ReceiptUnavailableError as error:
            return [error]

    def _proved(self, stored: StoredPin) -> StoredPin:
        """What is stored about the device, if whatever has no receipt yet may get one; UntrustedError."""
        if not any(each is not None and each.receipt is None and not each.is_new for each in _statements(stored)):
            return stored
        with self.database.read() as connection:
            rows, again = of_device(connection, str(stored.device)), store.load(connection, stored.device)
        if rows is None or again is None:
            raise AssertionError(f"device {stored.device}: a pin that was committed is not there")
        require_due(*judged(rows, self.trusted, self.now()))
        return again

    def _proved_or_why(self, stored: StoredPin) -> StoredPin | UntrustedError:
        try:
            return self._proved(stored)
        except UntrustedError as error:
            return error

    def _missing(self, pin: StoredPin) -> Iterator[Receipt]:
        if pin.pin.receipt is None:
            yield self._due(pin, pin.pin, "pin", "provisional")
        if pin.completion is not None and pin.completion.receipt is None:
            yield self._due(pin, pin.completion, "completion", "active")

    def _made(self, due: Mapping[str, Receipt]) -> Mapping[str, Envelope | ReceiptUnavailableError]:
        """Each receipt, signed and kept, by its statement's SHA-256; or why there is none."""
        try:
            answers = self.signer.sign_receipts(list(due.values()))
        except (SignerUnavailableError, SignerError) as error:
            _log.warning("receipts are not signed", exc_info=error, extra={"part": "signer"})
            return dict.fromkeys(due, _unavailable(error))
        key = self.trusted.root.receipt_key  # read once: each look at the root decodes it
        found = {
            each.statement_sha256: _checked(each, got, key) for each, got in zip(due.values(), answers, strict=True)
        }
        signed = {sha256: each for sha256, each in found.items() if isinstance(each, Envelope)}
        return {**found, **self._keep_all(signed)}

    def _keep_all(self, signed: Mapping[str, Envelope]) -> Mapping[str, Envelope]:
        if not signed:
            return signed
        try:
            self.database.writing(lambda connection: store.insert_receipts(connection, signed))
        except IntegrityError:  # another thread was faster with one of them
            return {sha256: self._keep(sha256, each) for sha256, each in signed.items()}
        return signed

    def _entry(self, pin: StoredPin, each: Stored, subject: Literal["pin", "completion"], state: State) -> Entry:
        receipt = each.receipt or (self.together or self._sign)(self._due(pin, each, subject, state))
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
            raise _unavailable(error) from error
        return self._keep(receipt.statement_sha256, signed)

    def _keep(self, statement_sha256: str, signed: Envelope) -> Envelope:
        """Store it; if another thread was faster, its receipt is the one."""
        try:
            self.database.writing(lambda connection: store.insert_receipts(connection, {statement_sha256: signed}))
        except IntegrityError:
            with self.database.read() as connection:
                theirs = store.load_receipt(connection, statement_sha256)
            self.database.assure()
            return theirs
        return signed


def _statements(pin: StoredPin) -> tuple[Stored, Stored | None]:
    return pin.pin, pin.completion


def _record(
    pin: StoredPin, made: Mapping[str, Envelope | ReceiptUnavailableError]
) -> PinRecord | ReceiptUnavailableError:
    """The record, if each of its receipts is there or made."""
    done = pin.completion
    receipts = [each.receipt or made[each.statement.payload_sha256] for each in (pin.pin, done) if each is not None]
    for each in receipts:
        if isinstance(each, ReceiptUnavailableError):
            return each
    entries = [
        Entry(statement=each.statement, registered_at=each.registered_at, receipt=receipt)
        for each, receipt in zip((pin.pin, done), receipts, strict=False)
        if each is not None and isinstance(receipt, Envelope)
    ]
    completion = entries[1] if len(entries) > 1 else None
    return PinRecord(device=pin.device, pin=entries[0], completion=completion, life=pin.life)


def _checked(receipt: Receipt, answer: Envelope | SignerError, key: PublicKey) -> Envelope | ReceiptUnavailableError:
    try:
        if isinstance(answer, SignerError):
            raise answer
        _require_same(receipt, verify(answer, Receipt, key))
    except (SignerError, StatementError) as error:
        _log.warning("a receipt is not signed", exc_info=error, extra={"part": "signer"})
        return _unavailable(error)
    return answer


def _unavailable(error: Exception) -> ReceiptUnavailableError:
    return ReceiptUnavailableError(
        f"stored, but its receipt cannot be signed now ({error}): send the same request again"
    )


def _require_same(wanted: Receipt, found: Receipt) -> None:
    if found != wanted:
        raise StatementError("the signer signed another receipt than was asked for")
