"""Which fault each leaf error stands for: what parties raise on one side, codes of `station.faults` on the other.

Applied by the step wrapper, and by whoever meets a leaf error outside a step. Never hides what it does not know: that
is a bug, and is raised as it is.
"""

from __future__ import annotations

from dataclasses import replace

from fixtures.device import (
    DeviceBusyError,
    DeviceError,
    GarbledAnswerError,
    LinkLostError,
    NoAnswerError,
    RefusalReason,
    RefusedError,
)  # fmt: skip
from fixtures.link import LinkError, PortBusyError, PortMissingError, PortNotAllowedError
from fixtures.power import PowerError
from hsm.signer import SignerError, SignerUnavailableError
from ledger.publish import PublishError
from station.cloud import CloudRefusedError, CloudUnreachableError, DeviceServiceUnableError
from station.faults import Fault, fault
from station.jobs import DuplicateKeyError, LedgerError, RecordConflictError
from trust.codes import Code

LEAF_ERRORS = (
    DeviceError, SignerError, SignerUnavailableError, CloudRefusedError, CloudUnreachableError,
    LedgerError, RecordConflictError, DuplicateKeyError,
)  # fmt: skip

# Most special first: the first row whose class fits decides.
_LEAVES: tuple[tuple[type[Exception], str], ...] = (
    (PortBusyError, "port-busy"),
    (PortMissingError, "port-missing"),
    (PortNotAllowedError, "port-not-allowed"),
    (LinkError, "link-failed"),
    (PowerError, "power-failed"),
    (LinkLostError, "link-lost"),
    (NoAnswerError, "no-answer"),
    (GarbledAnswerError, "garbled"),
    (DeviceBusyError, "device-busy"),
    (DeviceError, "link-failed"),
    (SignerUnavailableError, "signer-down"),
    (DeviceServiceUnableError, "device-service-away"),
    (CloudUnreachableError, "registry-unreachable"),
    (DuplicateKeyError, "key-duplicate"),
    (RecordConflictError, "ledger-conflict"),
    (LedgerError, "ledger-failed"),
    (PublishError, "signer-wrong"),
)

_GIVE_AGAIN = "Give the same command again when the registry answers (station check --config FILE)."
_REASONS = {
    RefusalReason.RNG_FAILED: "rng-failed",
    RefusalReason.NOT_AUTHORISED: "word-not-taken",
    RefusalReason.OTHER_KEY: "unit-between-keys",
    RefusalReason.NO_NONCE: "no-answer",  # its power went between nonce and step
}
_SIGNER_CODES = {
    Code.ORDER_EXHAUSTED: "order-exhausted",
    Code.ORDER_REFUSES: "order-refuses",
    Code.ORDER_CONFLICT: "order-refuses",
    Code.PROOF_INVALID: "bad-proof",
    Code.REPORT_INVALID: "report-differs",
    Code.HANDSHAKE_MISSING: "handshake-not-proved",
    Code.KEY_WEAK: "key-weak",
    Code.DEVICE_HAS_OTHER_KEY: "signed-otherwise",
    Code.JOB_BYTES_DIFFER: "signed-otherwise",
    Code.KEY_ON_OTHER_DEVICE: "key-duplicate",
    Code.PINNED_UNDER_OTHER_JOB: "signed-otherwise",
    Code.CHALLENGE_UNKNOWN: "challenge-unknown",
    Code.STATEMENT_INVALID: "unit-not-signed",
    Code.TOKEN_UNAVAILABLE: "signer-down",
    Code.LEASE_NEEDED: "lease-needed",
    Code.LEASE_CONFLICT: "lease-refused",
    Code.STOPPED: "signer-stopped",
    Code.DEVICE_SCRAPPED: "device-scrapped",
    Code.ORDER_NOT_APPROVED: "order-refuses",
    Code.TOKEN_PIN_WRONG: "signer-pin-wrong",
}
_CLOUD_CODES = {
    Code.HANDSHAKE_UNKNOWN: "device-service-away",  # the second time, too: no fault of the unit
    Code.CLOUD_KEY_DIFFERS: "cloud-key-differs",
    Code.DEVICE_SCRAPPED: "device-scrapped",
    Code.DEVICE_HAS_OTHER_KEY: "other-key-pinned",
    Code.KEY_ON_OTHER_DEVICE: "key-duplicate",
    Code.PINNED_UNDER_OTHER_JOB: "job-conflict",
    Code.JOB_BYTES_DIFFER: "pin-refused",
    Code.TOKEN_UNAVAILABLE: "registry-unreachable",
    Code.LEASE_CONFLICT: "lease-refused",
    Code.LEASE_EXCEEDED: "lease-refused",
    Code.ORDER_NOT_APPROVED: "order-refuses",
    Code.ORDER_EXHAUSTED: "order-spent",
    Code.DEVICE_OF_OTHERS: "other-order",
    Code.CLIENT_UNKNOWN: "access-refused",
    Code.ASSERTION_INVALID: "access-refused",
    Code.ASSERTION_USED: "access-refused",
    Code.ACCESS_TOKEN_INVALID: "access-refused",
    Code.ACCESS_TOKEN_NEEDED: "access-refused",
    Code.SCOPE_MISSING: "access-refused",
    Code.DPOP_NONCE: "access-refused",
    Code.ACT_NOT_APPROVED: "act-refused",
    Code.ACT_EXPIRED: "act-refused",
    Code.ACT_USED: "act-refused",
    Code.ACT_CONFLICT: "act-refused",
    Code.DPOP_INVALID: "clocks-differ",
    Code.ASSERTION_TIME: "clocks-differ",
}


def classify(error: Exception) -> Fault:
    """The fault that a leaf error stands for; anything unknown is a bug and is raised as it is."""
    match error:
        case RefusedError():
            return fault(_REASONS.get(error.reason, "device-refused"), str(error))
        case SignerError():
            return fault(_SIGNER_CODES.get(error.code, "signer-refused"), f"{error.code}: {error}")
        case CloudRefusedError():
            return fault(_CLOUD_CODES.get(error.code, "registry-refused"), f"{error.code}: {error}")
        case _:
            code = next((code for kind, code in _LEAVES if isinstance(error, kind)), None)
            if code is None:
                raise error
            return fault(code, str(error))


def classify_for_command(error: Exception) -> Fault:
    """The same, for a command that somebody typed about a device that need not be there: what to do names no unit."""
    found = classify(error)
    if found.code == "registry-unreachable":
        found.row = replace(found.row, remedy=_GIVE_AGAIN)
    return found
