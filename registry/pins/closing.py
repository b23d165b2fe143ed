"""What a completion must satisfy against the pin that it closes: pure, every rule by value.

The closing report is judged again here with the pinned key, so that a pin turns active on the device's own signed words
and not on the station's. Never looks anything up.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.pins.checks import (
    nonces,
    parsed,
    parsed_order,
    proof_signatures,
    require_device,
    require_here,
    require_permitted,
    require_possession,
    require_signature,
)
from registry.pins.errors import RefusedError
from registry.pins.record import PinRecord
from trust import order as orders
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.proof import ClosingReport, ReportError, report_message
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCompletion:
    """A completion that holds for its pin: may be inserted. Only `check_completion` makes one."""

    device: DeviceId
    statement: Completion
    envelope: Envelope
    nonces: frozenset[bytes]


def check_signed(trusted: TrustedRoot, device: DeviceId, envelope: Envelope) -> Completion:
    """The completion, if it is of this environment and root, of this device, and its station's signer signed it."""
    done = parsed(envelope, Completion)
    require_here(trusted, done, "completion")
    require_signature(envelope, trusted.root.completion_key, done.station, "completion")
    require_device(device, done.device_id)
    return done


def check_completion(
    done: Completion, envelope: Envelope, record: PinRecord, order_envelope: Envelope
) -> CheckedCompletion:
    """The completion (from `check_signed`), if it closes this pin under this order; RefusedError otherwise."""
    pin, order = parsed(record.pin.statement, PinStatement), parsed_order(order_envelope)
    _require_pin(done, record, pin)
    key = PublicKey.from_der(pin.spki)
    proof = done.verification.possession
    require_possession(key, record.device, proof, "verify")
    message = _require_report(done, key, order)
    require_permitted(orders.permits(order, order_envelope.payload_sha256, done))
    used = nonces(key, [*proof_signatures(record.device, proof), (message, done.closing.signature)])
    return CheckedCompletion(device=record.device, statement=done, envelope=envelope, nonces=used)


def _require_pin(done: Completion, record: PinRecord, pin: PinStatement) -> None:
    if done.pin_sha256 != record.pin.statement.payload_sha256:
        raise RefusedError(Code.NOT_PINNED, "the completion closes another pin than the one stored", record)
    if done.receipt_sha256 != record.pin.receipt.payload_sha256:
        raise RefusedError(Code.STATEMENT_INVALID, "the completion names another receipt than the pin's", record)
    if (done.job, done.fingerprint) != (pin.job, pin.fingerprint):
        raise RefusedError(Code.STATEMENT_INVALID, "job or fingerprint differ from the pin statement's", record)
    if pin.declared.emulated and not done.emulated:
        raise RefusedError(Code.STATEMENT_INVALID, "the pin says emulated, the completion does not", record)


def _require_report(done: Completion, key: PublicKey, order: WorkOrder) -> bytes:
    """The closing report must hold; the message that the device signed."""
    try:
        message = report_message(done.closing.challenge, done.closing.report)
        report = ClosingReport.parse(done.closing.report)
    except (ReportError, ValueError) as error:
        raise RefusedError(Code.REPORT_INVALID, str(error)) from error
    if not key.verifies(done.closing.signature, message):
        raise RefusedError(Code.REPORT_INVALID, "the closing report is not signed by the pinned key")
    for name, said, wanted in _compared(report, done):
        if said != wanted:
            raise RefusedError(Code.REPORT_INVALID, f"closing report: {name} is {said!r}, expected {wanted!r}")
    if report.firmware_sha256 not in order.firmware:
        raise RefusedError(Code.REPORT_INVALID, "closing report: the firmware is not on the order's list")
    return message


def _compared(report: ClosingReport, done: Completion) -> list[tuple[str, object, object]]:
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
        ("locked against writes as the station saw it", done.write_refused_after_lock, True),
        # The bench may say "emulated" where the device does not; never the other way round.
        ("emulated", report.emulated and not done.emulated, False),
    ]
