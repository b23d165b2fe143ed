"""May this completion be signed? It must close a pin that the registry receipted, on the device's own signed words.

The pin may be another station's of this root; the receipt is the registry's. Judged in the order written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from hsm.case import Case
from hsm.orders import KnownOrder
from hsm.policy_pin import device_key
from hsm.possession import device_of, proof_signatures, require_fresh_nonces, require_possession, use_challenge
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.proof import ClosingReport, ReportError, report_message
from trust.root import RootError
from trust.statement import Completion, PinStatement, Receipt, StatementError, read, verify

S = TypeVar("S", PinStatement, Receipt)


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
        """Whether order, pin statement, receipt, proof and closing report hold."""
        _judge(self.signatory, self.order, self.statement, self._pin, self._receipt)

    def claim(self) -> None:
        """Whether job, device, key, challenge and count allow it."""
        _claim(self.signatory, self.order, self.statement, self.key)


def _judge(signatory: Signatory, order: KnownOrder, done: Completion, pin: Envelope, receipt: Envelope) -> None:
    """Every rule that needs no memory."""
    order.require(done)
    pinned = _pin(signatory, pin)
    order.require(pinned)
    received = _verified(receipt, Receipt, lambda: signatory.trusted.root.receipt_key)
    signatory.require_here(received, "receipt")
    _compare(Code.STATEMENT_INVALID, "completion and pin", _of_pin(done, pinned, pin))
    _compare(Code.STATEMENT_INVALID, "receipt", _of_receipt(signatory, done, received, pin, receipt))
    key, device, proof = device_key(pinned), device_of(done), done.verification.possession
    require_possession(key, device, "verify", proof)
    require_possession(key, device, "pin", pinned.possession)
    report = (_require_report(order, done, key), done.closing.signature)
    require_fresh_nonces(key, [*proof_signatures(device, pinned.possession), *proof_signatures(device, proof), report])


def _pin(signatory: Signatory, envelope: Envelope) -> PinStatement:
    """The pin statement, signed by the pin key that the root names for its own station, this one or another."""
    try:
        station = read(envelope, PinStatement).station
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    pinned = _verified(envelope, PinStatement, lambda: signatory.trusted.root.pin_key(station))
    signatory.require_here(pinned, "pin statement")
    return pinned


def _verified(envelope: Envelope, kind: type[S], key: Callable[[], PublicKey]) -> S:
    try:
        return verify(envelope, kind, key())
    except (StatementError, RootError) as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error


def _of_pin(done: Completion, pinned: PinStatement, pin: Envelope) -> list[tuple[str, object, object]]:
    return [
        ("pin hash", done.pin_sha256, pin.payload_sha256),
        ("job", done.job, pinned.job),
        ("device", done.device_id, pinned.device_id),
        ("fingerprint", done.fingerprint, pinned.fingerprint),
        # The bench may say "emulated" where the device does not; what was emulated once never becomes real.
        ("emulated", pinned.declared.emulated and not done.emulated, False),
    ]


def _of_receipt(
    signatory: Signatory, done: Completion, received: Receipt, pin: Envelope, receipt: Envelope
) -> list[tuple[str, object, object]]:
    return [
        ("hash", done.receipt_sha256, receipt.payload_sha256),
        ("registry", received.registry, signatory.trusted.root.registry),
        ("subject", received.subject, "pin"),
        ("statement hash", received.statement_sha256, pin.payload_sha256),
        ("order", received.order_id, done.order_id),
        ("job", received.job, done.job),
        ("device", received.device_id, done.device_id),
        ("fingerprint", received.fingerprint, done.fingerprint),
    ]


def _require_report(order: KnownOrder, done: Completion, key: PublicKey) -> bytes:
    """The device's own words, under its own key, must be what the statement and the order say; the message signed."""
    try:
        message = report_message(done.closing.challenge, done.closing.report)
        report = ClosingReport.parse(done.closing.report)
    except (ReportError, ValueError) as error:
        raise SignerError(Code.REPORT_INVALID, str(error)) from error
    if not key.verifies(done.closing.signature, message):
        raise SignerError(Code.REPORT_INVALID, "the closing report is not signed by the pinned key")
    _compare(Code.REPORT_INVALID, "closing report", _of_report(done, report))
    if report.firmware_sha256 not in order.body.firmware:
        raise SignerError(
            Code.REPORT_INVALID, f"closing report: firmware {report.firmware_sha256[:16]}… is not on the order's list"
        )
    return message


def _of_report(done: Completion, report: ClosingReport) -> list[tuple[str, object, object]]:
    return [
        ("device", str(report.device_id), done.device_id),
        ("job", str(report.job), done.job),
        ("device key", report.device_fingerprint, done.fingerprint),
        ("cloud key", report.cloud_fingerprint, done.cloud_fingerprint),
        ("authority key", report.authority_fingerprint, done.authority_fingerprint),
        ("service", report.service, done.service),
        ("host", report.host, done.host),
        ("port", report.port, done.port),
        ("locked", report.locked, True),
        ("write refused after lock", done.write_refused_after_lock, True),
        ("emulated", report.emulated and not done.emulated, False),
    ]


def _compare(code: Code, what: str, rows: Iterable[tuple[str, object, object]]) -> None:
    for name, found, wanted in rows:
        if found != wanted:
            raise SignerError(code, f"{what}: {name} is {found!r}, expected {wanted!r}")


def _claim(signatory: Signatory, order: KnownOrder, done: Completion, payload_sha256: str) -> None:
    """Every rule that needs memory; runs inside the reserving transaction."""
    counters = signatory.counters
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
    use_challenge(signatory, done.closing.challenge, "report", done, payload_sha256)
    if not counters.take_unit("completion", done.order_id):
        text = f"order {done.order_id}: all {order.body.quantity} units are completed: start the next order"
        raise SignerError(Code.ORDER_EXHAUSTED, text)
