"""The closing report inside a completion: the device's own words, under its own key, against statement, pin and order.

Pure; yields a sentence for each thing that differs (docs/wire.md §4.6). For the audit alone, and imported by nobody
else: signer, registry and flow have `trust.closing`, which is among what is audited (docs/decisions/0015).
"""

from __future__ import annotations

from collections.abc import Iterator

from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.proof import CHALLENGE_BYTES, ClosingReport, ReportError, report_message
from trust.statement import Completion, PinStatement


def problems(done: Completion, pin: PinStatement, key: PublicKey, order: WorkOrder | None) -> Iterator[str]:
    """What does not hold about the report; `key` is the pinned one."""
    if len(done.closing.challenge) != CHALLENGE_BYTES:
        yield f"closing report: its challenge has {len(done.closing.challenge)} bytes, expected {CHALLENGE_BYTES}"
        return
    if not key.verifies(done.closing.signature, report_message(done.closing.challenge, done.closing.report)):
        yield "closing report: not signed by the pinned key"
    try:
        report = ClosingReport.parse(done.closing.report)
    except ReportError as error:
        yield str(error)
        return
    for name, found, wanted in _compared(done, pin, report):
        if found != wanted:
            yield f"closing report: {name} is {found!r}, expected {wanted!r}"
    if order is not None and not any(report.firmware_sha256 == image.sha256 for image in order.firmware):
        yield f"closing report: firmware {report.firmware_sha256} is not on the order's list"
    if order is not None and order.after_lock.debug_closed and not report.debug_closed:
        yield "closing report: the debug port is open, which the order does not allow"
    if order is not None and order.after_lock.readout_protected and not report.readout_protected:
        yield "closing report: the memory can be read out, which the order does not allow"


def _compared(done: Completion, pin: PinStatement, report: ClosingReport) -> list[tuple[str, object, object]]:
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
        # the bench may say "emulated" where the device does not; what was emulated once never becomes real
        ("emulated, and not said so", (report.emulated or pin.declared.emulated) and not done.emulated, False),
    ]
