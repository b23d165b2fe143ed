"""What the registry's signer still owes a stored record: receipts and revocations, signed and kept.

Signs outside any transaction, only what the committed rows prove, and only where nothing else is wrong with them: a
crash or a silent signer loses nothing, the next request that touches the device gets what was due. Whether something
is due, and not only missing, `registry.pins.late` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from registry.database import Database
from registry.errors import NotSignedError, ReceiptUnavailableError
from registry.pins import acts_store, store
from registry.pins.life import Deed, receipt_of
from registry.pins.reading import Reading, current, judged, require_due
from registry.pins.receipts import Receipts
from registry.pins.rows import DeviceRows, of_device
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.revocation import CAUSES, Revocation, revoked
from trust.root import TrustedRoot
from trust.statement import Receipt, Statement, StatementError, verify

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """Gives stored devices what they are due, and reads them."""

    database: Database
    trusted: TrustedRoot
    signer: ReceiptSigner
    receipts: Receipts
    now: Callable[[], datetime]

    def read(self, device: DeviceId) -> Reading | None:
        """What is proved about the device; None without a pin.

        UntrustedError, or ReceiptUnavailableError while something that is due cannot be signed.
        """
        with self.database.read() as connection:
            rows = of_device(connection, str(device))
        if rows is None:
            return None
        known, found = judged(rows, self.trusted, self.now())
        reading = require_due(known, found)
        if not found:
            return reading
        self._settle(device, rows, reading)
        with self.database.read() as connection:
            again = of_device(connection, str(device))
        if again is None:
            raise AssertionError(f"device {device}: a pin that was committed is not there")
        return current(again, self.trusted, self.now())

    def _settle(self, device: DeviceId, rows: DeviceRows, reading: Reading) -> None:
        with self.database.read() as connection:
            stored = store.load(connection, device)
        if stored is not None:
            self.receipts.complete(stored)
        for deed in reading.deeds:
            if deed.statement_sha256 not in rows.receipts:
                self._receipt(reading, deed)
            if deed.act.kind in CAUSES and deed.revocation is None:
                self._revoke(reading, deed)

    def _receipt(self, reading: Reading, deed: Deed) -> None:
        root = self.trusted.root
        said = receipt_of(reading.papers, deed.life, deed.statement_sha256, is_repin=deed.repin is not None)
        due = Receipt(
            environment=root.environment, root_sha256=self.trusted.sha256, registry=root.registry,
            registered_at=deed.at, **said,  # type: ignore[arg-type]  # its literals
        )  # fmt: skip
        try:
            signed = self.signer.sign_receipt(due)
            _require_same(verify(signed, Receipt, root.receipt_key), due)
        except (SignerUnavailableError, SignerError, StatementError) as error:
            _log.warning("the receipt of an act is not signed", exc_info=error, extra={"part": "signer"})
            raise _later(error) from error
        try:
            with self.database.write() as connection:
                store.insert_receipts(connection, {deed.statement_sha256: signed})
        except IntegrityError:
            return  # another thread was faster: its receipt is the one

    def _revoke(self, reading: Reading, deed: Deed) -> None:
        act, pin, root = deed.act, reading.papers.pin, self.trusted.root
        due = Revocation(
            environment=root.environment, root_sha256=self.trusted.sha256, registry=root.registry,
            order_id=pin.order_id, job=pin.job, device_id=pin.device_id, fingerprint=act.fingerprint,
            cause=CAUSES[act.kind], act_sha256=deed.envelope.payload_sha256,  # type: ignore[arg-type]
            reason=act.reason, revoked_at=deed.at,
        )  # fmt: skip
        signed = self._revocation(due, deed.envelope)
        try:
            with self.database.write() as connection:
                acts_store.insert_revocation(connection, due, signed)
        except IntegrityError:
            return

    def _revocation(self, due: Revocation, act: Envelope) -> Envelope:
        try:
            signed = self.signer.sign_revocation(due, act)
            _require_same(revoked(self.trusted, signed), due)
        except SignerError as error:
            _log.exception("the signer refuses to sign a revocation", extra={"part": "signer"})
            raise NotSignedError(error.code, f"the act is done, but its revocation is not signed: {error}") from error
        except (SignerUnavailableError, StatementError) as error:
            _log.warning("a revocation is not signed", exc_info=error, extra={"part": "signer"})
            raise _later(error) from error
        return signed


def _require_same(found: Statement, due: Statement) -> None:
    if found != due:
        raise StatementError("the signer signed something else than was asked for")


def _later(error: Exception) -> ReceiptUnavailableError:
    text = f"the act is done, but what follows from it cannot be signed now ({error})"
    return ReceiptUnavailableError(f"{text}: ask GET /v1/devices/ID in a while")
