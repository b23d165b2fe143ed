"""Comparisons that the flow makes before it believes registry, signer or device. Each raises the fault it finds.

Pure; no exchange with anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

from fixtures.device import Anchor, Identity, SignedReport
from fixtures.slot import SlotConfig
from station.cloud import PinRecord
from station.declared import declared
from station.faults import fault
from station.jobs import RecordKind
from station.line import Line
from trust import closing
from trust import receipt as receipts
from trust.differing import differing
from trust.dsse import Envelope
from trust.identity import DeviceId, IdentityError, JobId
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.order import WorkOrder, device_problem, firmware_problem, permits
from trust.proof import ClosingReport, ReportError, report_message
from trust.root import RootError, TrustedRoot
from trust.signed import device_key, nonce_problem, possession_problem, signed_in
from trust.statement import Completion, PinStatement, StatementError, read, verify

Records = Mapping[RecordKind, Envelope]
"""What is on record of a job."""


def registry_record(root: TrustedRoot, device: DeviceId, record: PinRecord) -> PinStatement:
    """The pin statement in the registry's answer about this device; see `verified`."""
    try:
        statement = verified(root, record)
    except (StatementError, RootError) as error:
        raise fault("registry-wrong", str(error)) from error
    if statement.device_id != str(device):
        raise fault("registry-wrong", f"asked for {device}, got {statement.device_id}")
    return statement


def not_out(registered: PinRecord) -> None:
    """The registry does not say that the unit is out: it is left untouched then."""
    if registered.state in {"revoked", "scrapped"}:
        raise fault("device-scrapped", f"the registry says {registered.state}")


def verified(root: TrustedRoot, record: PinRecord) -> PinStatement:
    """The record's pin statement: all signatures of the record verified, the device's proof too.

    Raises StatementError or RootError.
    """
    claimed = read(record.statement, PinStatement)
    statement = verify(record.statement, PinStatement, root.at(claimed.root_sha256).pin_key(claimed.station))
    _require(_pin_problem(root, statement))
    _require(receipts.problem(root, record.statement, record.receipt))
    _finished(root, record)
    return statement


def _pin_problem(root: TrustedRoot, pin: PinStatement) -> str | None:
    """Why the pin statement does not hold in itself; whether its order permits it is `right_order`'s."""
    try:
        key, device = device_key(pin), DeviceId.parse(pin.device_id)
    except (PublicKeyError, IdentityError) as error:
        return str(error)
    rows = [
        ("environment", pin.environment, root.root.environment),
        ("vetting", pin.vetting.verdict, "ok"),
    ]
    return (
        differing("pin statement", rows)
        or possession_problem(key, device, "pin", pin.possession)
        or nonce_problem(signed_in(pin))
    )


def _finished(root: TrustedRoot, record: PinRecord) -> None:
    """Completion and its receipt are both there, or neither is; the state says which, and both are about this pin."""
    finished = record.completion is not None and record.completion_receipt is not None
    if not finished and (record.completion, record.completion_receipt) != (None, None):
        raise StatementError("a completion without its receipt, or a receipt without its completion")
    if record.state not in ({"active", "revoked", "scrapped"} if finished else {"provisional", "scrapped"}):
        raise StatementError(f"the state is {record.state!r}, and a completion is {'there' if finished else 'missing'}")
    if record.completion is not None and record.completion_receipt is not None:
        _require(receipts.problem(root, record.completion, record.completion_receipt))
        done = signed_completion(root, record.completion)
        _require(closing.pin_problem(done, record.statement, record.receipt))


def signed_completion(root: TrustedRoot, completion: Envelope) -> Completion:
    """The completion, signed by the key that the root names for its station. Raises StatementError or RootError."""
    claimed = read(completion, Completion)
    return verify(completion, Completion, root.at(claimed.root_sha256).completion_key(claimed.station))


def _require(problem: str | None) -> None:
    if problem is not None:
        raise StatementError(problem)


def as_declared(pin: Envelope, identity: Identity, slot: SlotConfig) -> None:
    """Unit and bench still say what the pin statement says, so that signer and registry will take the completion."""
    if read(pin, PinStatement).declared.emulated != (identity.emulated or slot.emulated):
        raise fault("unit-changed", "its pin statement says otherwise about being emulated")


def read_back(root: TrustedRoot, sent: Envelope, held: PinRecord | None, *, answer: Envelope | None) -> Envelope:
    """The receipt of the pin that the registry holds now: the one it answered with, if it has answered."""
    if held is None and answer is None:
        raise fault("registry-unreachable", "the pin did not arrive")
    if held is None:
        raise fault("registry-wrong", "it has acknowledged this pin, and does not know it")
    ours = read(sent, PinStatement)
    theirs = registry_record(root, DeviceId.parse(ours.device_id), held)
    same = held.statement.same_statement(sent)
    if not same and answer is None:
        raise fault("job-conflict" if theirs.spki == ours.spki else "other-key-pinned", f"pinned by {theirs.station}")
    if not same or (answer is not None and not held.receipt.same_statement(answer)):
        raise fault("registry-wrong", "pin or receipt read back is not the one it has acknowledged")
    return answer or held.receipt


def signed_exactly(payload: bytes, answer: Envelope, key: PublicKey) -> None:
    """The signer signed the intended bytes with the key that the root names."""
    if answer.payload != payload:
        raise fault("signer-wrong", "the signed bytes are not the intended ones")
    if not answer.signed_by(key):
        raise fault("signer-wrong", f"not signed by the root's key {key.fingerprint[:16]}… and by it alone")


def right_unit(work: WorkOrder, identity: Identity) -> None:
    """The unit fits the order: product, firmware, list, security state, healthy random numbers."""
    if identity.product_id != work.product_id:
        raise fault("wrong-product", f"unit has product id {identity.product_id}, the order {work.product_id}")
    said = declared(identity, bench_emulated=identity.emulated)
    wrong = firmware_problem(work, said)
    if wrong is not None:
        raise fault("firmware-not-allowed", f"{identity.firmware_version}, SHA-256 {said.firmware_sha256}: {wrong}")
    wrong = device_problem(work, str(identity.device_id), said)
    if wrong is not None:
        raise fault("unit-not-ordered", wrong)
    if not identity.rng_healthy:
        raise fault("rng-failed")


def same_unit(before: Identity, after: Identity) -> None:
    """The unit that answers now is the one from before, with the same firmware."""
    names = ("device_id", "product_id", "firmware_sha256", "hardware", "emulated")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    if changed:
        raise fault("unit-changed", f"was {before.device_id}, is {after.device_id}; changed: {', '.join(changed)}")


def right_key(line: Line, key: PublicKey, registered: PinRecord | None, records: Records) -> None:
    """The key has the order's type, and is the one that registry or ledger know for this job, if they know one.

    Looked at before the unit proves it: whoever claims a unit's id and job is not yet that unit.
    """
    if key.key_type is not KeyType(line.work.key_type):
        raise fault("key-changed", f"the key is {key.key_type.value}, the order wants {line.work.key_type}")
    pinned = None if registered is None else read(registered.statement, PinStatement)
    if pinned is not None and pinned.spki != key.spki:
        raise fault("other-key-pinned", f"pinned by {pinned.station}")
    ours = records.get(RecordKind.INTENT, records.get(RecordKind.PIN))
    if ours is not None and read(ours, PinStatement).spki != key.spki:
        raise fault("key-changed", "another key is on record for this job")


def same_receipt(registered: PinRecord, records: Records) -> None:
    """The registry shows the receipt that is on record, if there is one for this very statement."""
    pin, receipt = records.get(RecordKind.PIN), records.get(RecordKind.PIN_RECEIPT)
    if pin is None or receipt is None or not pin.same_statement(registered.statement):
        return
    if not receipt.same_statement(registered.receipt):
        raise fault("registry-wrong", "it shows another receipt for this pin than the one on record")


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


def right_order(line: Line, device: DeviceId, registered: PinRecord) -> None:
    """The registry's record holds, the unit is not out, and its pin was made under this order, which permits it."""
    pinned = registry_record(line.root, device, registered)
    not_out(registered)
    if pinned.order_id != line.work.order_id and registered.completion is not None:
        raise fault("passed-other-order", f"passed under {pinned.order_id}")
    if pinned.order_id != line.work.order_id:
        raise fault("other-order", f"pinned under {pinned.order_id}: finish it there")
    signed = [("order_signed", pinned.order_signed, bool(line.order.signatures))]
    refused = permits(line.work, line.order.payload_sha256, pinned) or differing("pin statement", signed)
    if refused is not None:
        raise fault("registry-wrong", f"it has taken a pin that the order does not permit: {refused}")


def pinned_by(registered: PinRecord | None) -> str:
    """Who pinned it, for a fault's detail; empty if nobody did."""
    return "" if registered is None else f"; pinned by {read(registered.statement, PinStatement).station}"


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
    if identity.key_type is not None and not asked:
        raise fault("registry-needed")
    if identity.locked:
        raise fault("locked-unknown")
    if "generated" not in line.work.origins:
        raise fault("origin-not-allowed", "the unit brings no key and the order allows only collected ones")
    return identity.key_type is not None
