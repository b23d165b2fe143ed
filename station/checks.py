"""Comparisons that the flow makes before it believes registry, signer or device. Each raises the fault it finds.

Pure; no exchange with anybody.
"""

from __future__ import annotations

from fixtures.device import Anchor, Identity, SignedReport
from station.cloud import PinRecord
from station.faults import fault
from station.jobs import RecordKind
from station.jobs.receipts import receipt_problem
from station.line import Line
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.keys import KeyType, PublicKey
from trust.proof import ClosingReport, ReportError, report_message
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, StatementError, read, verify


def registry_record(root: TrustedRoot, device: DeviceId, record: PinRecord) -> PinStatement:
    """The pin statement in the registry's answer, all its signatures verified against the root."""
    try:
        claimed = read(record.statement, PinStatement)
        statement = verify(record.statement, PinStatement, root.root.pin_key(claimed.station))
        receipt(root, RecordKind.PIN, record.statement, record.receipt)
        _finished(root, record)
    except (StatementError, RootError) as error:
        raise fault("registry-wrong", str(error)) from error
    if statement.device_id != str(device):
        raise fault("registry-wrong", f"asked for {device}, got {statement.device_id}")
    return statement


def _finished(root: TrustedRoot, record: PinRecord) -> None:
    if record.completion is None or record.completion_receipt is None:
        return
    done = read(record.completion, Completion)
    verify(record.completion, Completion, root.root.completion_key(done.station))
    receipt(root, RecordKind.COMPLETION, record.completion, record.completion_receipt)
    if done.pin_sha256 != record.statement.payload_sha256:
        raise StatementError("the completion is about another pin statement")


def receipt(root: TrustedRoot, kind: RecordKind, statement: Envelope, answer: Envelope) -> None:
    """The receipt is the registry's word on this very statement (PIN or COMPLETION)."""
    problem = receipt_problem(root, kind, statement, answer)
    if problem is not None:
        raise fault("registry-wrong", problem)


def read_back(root: TrustedRoot, sent: Envelope, held: PinRecord | None, *, answered: bool) -> Envelope:
    """The receipt of the pin that the registry holds now; if it has answered at all, it holds the statement sent."""
    if held is None and not answered:
        raise fault("registry-unreachable", "the pin did not arrive")
    if held is None or held.statement != sent:
        raise fault("registry-wrong", "the pin read back is not the one sent")
    receipt(root, RecordKind.PIN, sent, held.receipt)
    return held.receipt


def signed_exactly(payload: bytes, answer: Envelope, key: PublicKey) -> None:
    """The signer signed the intended bytes with the key that the root names."""
    if answer.payload != payload:
        raise fault("signer-wrong", "the signed bytes are not the intended ones")
    if not answer.signed_by(key):
        raise fault("signer-wrong", f"not signed by the root's key {key.fingerprint[:16]}…")


def right_unit(line: Line, identity: Identity) -> None:
    """The unit fits the order: product, firmware, healthy random numbers."""
    if identity.product_id != line.work.product_id:
        raise fault("wrong-product", f"unit has product id {identity.product_id}, the order {line.work.product_id}")
    if identity.firmware_sha256.hex() not in line.work.firmware:
        raise fault(
            "firmware-not-allowed", f"{identity.firmware_version}, SHA-256 {identity.firmware_sha256.hex()[:16]}…"
        )
    if not identity.rng_healthy:
        raise fault("rng-failed")


def same_unit(before: Identity, after: Identity) -> None:
    """The unit that answers now is the one from before, with the same firmware."""
    if (before.device_id, before.product_id, before.firmware_sha256) != (
        after.device_id,
        after.product_id,
        after.firmware_sha256,
    ):
        raise fault("unit-changed", f"was {before.device_id}, is {after.device_id}")


def right_key(line: Line, key: PublicKey) -> None:
    """The key has the order's type."""
    if key.key_type is not KeyType(line.work.key_type):
        raise fault("key-changed", f"the key is {key.key_type.value}, the order wants {line.work.key_type}")


def closing_report(
    challenge: bytes, signed: SignedReport, *, key: PublicKey, job: JobId, identity: Identity, anchor: Anchor
) -> None:
    """The closing report is the device's own and says what was written, locked."""
    if not key.verifies(signed.signature, report_message(challenge, signed.report)):
        raise fault("report-differs", "its signature does not verify")
    try:
        found = ClosingReport.parse(signed.report)
    except ReportError as error:
        raise fault("report-differs", str(error)) from error
    if not found.locked:
        raise fault("lock-not-holding", "the closing report says that writes are open")
    wanted = ClosingReport(
        device_id=identity.device_id,
        job=job,
        device_fingerprint=key.fingerprint,
        cloud_fingerprint=anchor.cloud_key.fingerprint,
        authority_fingerprint=anchor.authority_key.fingerprint,
        service=anchor.service.value,
        host=anchor.host,
        port=anchor.port,
        firmware_sha256=identity.firmware_sha256.hex(),
        locked=True,
        debug_closed=identity.security.debug_closed,
        readout_protected=identity.security.readout_protected,
        key_storage=identity.security.key_storage.value,
        emulated=identity.emulated,
    )
    if found != wanted:
        names = [name for name in ClosingReport.__slots__ if getattr(found, name) != getattr(wanted, name)]
        raise fault("report-differs", f"other values in: {', '.join(names)}")


def right_order(line: Line, pinned: PinStatement) -> None:
    """The unit's pin was made under this very order."""
    if pinned.order_id != line.work.order_id:
        raise fault("other-order", f"pinned under {pinned.order_id}")


def job_to_adopt(line: Line, identity: Identity, registered: PinRecord | None) -> JobId | None:
    """The job another station began, or, where keys are collected, the one that the unit's key was made for."""
    if registered is not None:
        return JobId.parse(read(registered.statement, PinStatement).job)
    return identity.job if "collected" in line.work.origins else None


def may_make_key(line: Line, identity: Identity, *, known: bool, asked: bool) -> bool:
    """Whether making a key replaces one of unknown origin; a fault if no key may be made.

    `known`: ledger or registry has a key of this job, so the unit ought to carry it. `asked`: the registry answered.
    """
    if known:
        raise fault("key-lost" if identity.key_type is None else "key-changed")
    if identity.locked:
        raise fault("locked-unknown")
    if "generated" not in line.work.origins:
        raise fault("origin-not-allowed", "the unit brings no key and the order allows only collected ones")
    if identity.key_type is not None and not asked:
        raise fault("registry-needed")
    return identity.key_type is not None
