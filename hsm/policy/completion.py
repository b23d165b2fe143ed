"""May this completion be signed? It must close a pin that the registry receipted, on the device's own signed words.

The pin may be another station's of this root; the receipt is the registry's. Judged in the order written here.
"""

from __future__ import annotations

from types import MappingProxyType

from hsm.acts import require_running
from hsm.orders import KnownOrder
from hsm.policy.case import Case
from hsm.policy.challenge import use_challenge
from hsm.policy.possession import claim_nonces, device_of
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import closing
from trust import receipt as receipts
from trust.closing import About
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import is_in_force
from trust.root import RootError
from trust.statement import Completion, PinStatement, Receipt, StatementError, read, verify

_CODES = MappingProxyType(
    {
        About.PIN: Code.STATEMENT_INVALID,
        About.PROOF: Code.PROOF_INVALID,
        About.REPORT: Code.REPORT_INVALID,
        About.HANDSHAKE: Code.HANDSHAKE_MISSING,
    }
)


class CompletionCase(Case[Completion]):
    """A completion that a station wants signed, with pin statement and receipt beside it."""

    PURPOSE = Purpose.COMPLETION
    KIND = "completion"

    def __init__(self, signatory: Signatory, done: Completion, pin: Envelope, receipt: Envelope) -> None:
        super().__init__(signatory, done)
        self._pin = pin
        self._receipt = receipt

    def admit(self) -> None:
        """Whether it is for this signer."""
        done = self.statement
        self.signatory.require_here(done, "completion")
        device_of(done)
        if done.station != self.signatory.name:
            text = f"completion of station {done.station!r}: this signer is {self.signatory.name!r}'s"
            raise SignerError(Code.NOT_AUTHORISED, text)
        _ = self.order

    def judge(self) -> None:
        """Whether order, pin statement, receipt, proof, closing report and handshake hold."""
        _judge(self.signatory, self.order, self.statement, self._pin, self._receipt)

    def claim(self) -> None:
        """Whether job, device, key, challenge and count allow it."""
        _claim(self.signatory, self.order, self.statement, self.key)


def _judge(signatory: Signatory, order: KnownOrder, done: Completion, pin: Envelope, receipt: Envelope) -> None:
    """Every rule that needs no memory."""
    order.require(done)
    pinned = _pin(signatory, pin)
    order.require(pinned)
    _require_receipt(signatory, pin, receipt)
    wrong = closing.problem(signatory.trusted, done, pin, receipt, order.body)
    if wrong is not None:
        raise SignerError(_CODES[wrong.about], wrong.text)
    if done.verification.handshake_report is not None:
        _require_key_in_force(signatory, done.verification.handshake_report)


def _pin(signatory: Signatory, envelope: Envelope) -> PinStatement:
    """The pin statement, signed by the pin key that the root names for its own station, this one or another."""
    try:
        claimed = read(envelope, PinStatement)
        signatory.require_here(claimed, "pin statement")
        key = signatory.trusted.at(claimed.root_sha256).pin_key(claimed.station)
        pinned = verify(envelope, PinStatement, key)
    except (StatementError, RootError) as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    return pinned


def _require_receipt(signatory: Signatory, pin: Envelope, receipt: Envelope) -> None:
    """The registry has this very pin statement."""
    try:
        signatory.require_here(read(receipt, Receipt), "receipt")
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    wrong = receipts.problem(signatory.trusted, pin, receipt)
    if wrong is None and not receipt.signed_by(signatory.trusted.root.receipt_key):
        wrong = "the receipt's key is not the trust root's any more: send the pin statement to the registry again"
    if wrong is not None:
        raise SignerError(Code.STATEMENT_INVALID, wrong)


def _require_key_in_force(signatory: Signatory, report: Envelope) -> None:
    """A handshake key that was replaced, perhaps because it is known, makes nothing new."""
    if not is_in_force(signatory.trusted, report):
        text = "the handshake report's key is not the trust root's any more: insert the unit again for a new handshake"
        raise SignerError(Code.HANDSHAKE_MISSING, text)


def _claim(signatory: Signatory, order: KnownOrder, done: Completion, payload_sha256: str) -> None:
    """Every rule that needs memory; runs inside the reserving transaction."""
    counters = signatory.counters
    require_running(signatory)
    if counters.scrapped(done.device_id):
        raise SignerError(Code.DEVICE_SCRAPPED, f"device {done.device_id} was scrapped: destroy it")
    if counters.reserved_of_job("completion", done.job) is not None:
        raise SignerError(Code.JOB_BYTES_DIFFER, f"job {done.job} has another completion already: send that one")
    if counters.completion_of_device(done.order_id, done.device_id) is not None:
        raise SignerError(
            Code.PINNED_UNDER_OTHER_JOB, f"device {done.device_id} was completed under another job of this order"
        )
    own = counters.reserved_of_job("pin", done.job)
    if own is not None and own.payload_sha256 != done.pin_sha256:
        raise SignerError(
            Code.STATEMENT_INVALID, "the completion closes another pin statement than the one signed here"
        )
    if counters.claim_key(done.fingerprint, done.device_id) != done.device_id:
        raise SignerError(Code.KEY_ON_OTHER_DEVICE, f"key {done.fingerprint[:16]}… was signed for under another device")
    claim_nonces(counters, done)
    use_challenge(signatory, done.closing.challenge, "report", done, payload_sha256)
    if not counters.take_unit("completion", done.order_id):
        part = order.body.allotted(signatory.name)
        text = f"order {done.order_id}: all {part.quantity} units of this station are completed: start the next order"
        raise SignerError(Code.ORDER_EXHAUSTED, text)
