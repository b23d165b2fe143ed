"""Whether a completion holds: against the pin that it closes, the device's own words, and the order.

The one answer of signer, registry and flow (docs/decisions/0015). Pure. Whoever asks has verified the envelopes, and
asks `trust.order.permits` too. Never counts, never remembers, and the audit never asks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from trust import handshaken
from trust.differing import differing
from trust.dsse import Envelope
from trust.identity import DeviceId, IdentityError
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.proof import ClosingReport, ReportError
from trust.root import TrustedRoot
from trust.signed import SignedError, device_key, nonce_problem, possession_problem, report_signed, signed_in
from trust.statement import Completion, PinStatement, StatementError, read


class About(Enum):
    """What of a completion does not hold."""

    PIN = "pin"  # it closes another pin, or under another job, key, order or receipt
    PROOF = "proof"  # one of both proofs, or a nonce used twice
    REPORT = "report"  # the closing report
    HANDSHAKE = "handshake"  # neither a handshake report that holds nor a waiver that the order allows


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that does not hold."""

    about: About
    text: str


def problem(
    trusted: TrustedRoot, done: Completion, pin: Envelope, receipt: Envelope, order: WorkOrder
) -> Problem | None:
    """Why the completion does not close this pin, receipted so, under this order; None if it does."""
    wrong = pin_problem(done, pin, receipt)
    if wrong is not None:
        return Problem(About.PIN, wrong)
    try:
        pinned = read(pin, PinStatement)
        key, device = device_key(pinned), DeviceId.parse(done.device_id)
    except (StatementError, PublicKeyError, IdentityError) as error:
        return Problem(About.PIN, f"pin statement: {error}")
    found = next(_problems(done, pinned, key, device, order), None)
    if found is None and (missing := handshaken.problem(trusted, order, pinned, done)) is not None:
        return Problem(About.HANDSHAKE, missing)
    return found


def pin_problem(done: Completion, pin: Envelope, receipt: Envelope) -> str | None:
    """Why the completion is not about this pin statement and this receipt for it; None if it is."""
    try:
        pinned = read(pin, PinStatement)
    except StatementError as error:
        return str(error)
    return differing(
        "completion and pin",
        [
            ("pin hash", done.pin_sha256, pin.payload_sha256),
            ("receipt hash", done.receipt_sha256, receipt.payload_sha256),
            ("order", done.order_id, pinned.order_id),
            ("job", done.job, pinned.job),
            ("device", done.device_id, pinned.device_id),
            ("fingerprint", done.fingerprint, pinned.fingerprint),
            # The bench may say "emulated" where the device does not; what was emulated once never becomes real.
            ("emulated, and not said so", pinned.declared.emulated and not done.emulated, False),
        ],
    )


def _problems(
    done: Completion, pinned: PinStatement, key: PublicKey, device: DeviceId, order: WorkOrder
) -> Iterator[Problem]:
    for context, proof in (("verify", done.verification.possession), ("pin", pinned.possession)):
        unproven = possession_problem(key, device, context, proof)
        if unproven is not None:
            yield Problem(About.PROOF, unproven)
    report = _report(done, key, order)
    if report is not None:
        yield Problem(About.REPORT, report)
    nonce = nonce_problem([*signed_in(pinned), *signed_in(done)])  # two proofs and the report: three challenges
    if nonce is not None:
        yield Problem(About.PROOF, nonce)


def _report(done: Completion, key: PublicKey, order: WorkOrder) -> str | None:
    """The device's own words, under its own key, must be what the statement and the order say."""
    try:
        signed = report_signed(done.closing)
        report = ClosingReport.parse(done.closing.report)
    except (SignedError, ReportError) as error:
        return str(error)
    if not key.verifies(signed.signature, signed.message):
        return "the closing report is not signed by the pinned key"
    if report.firmware_sha256 not in order.firmware_hashes:
        return f"closing report: firmware {report.firmware_sha256[:16]}… is not on the order's list"
    missing = order.after_lock.missing(debug_closed=report.debug_closed, readout_protected=report.readout_protected)
    if missing is not None:
        return f"closing report: the order does not let the device leave like this: {missing}"
    return differing("closing report", _said(report, done))


def _said(report: ClosingReport, done: Completion) -> list[tuple[str, object, object]]:
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
        ("emulated, and not said so", report.emulated and not done.emulated, False),
    ]
