"""What the registry's *no* proves. A refusal for good is believed by the record that it shows, never by its code alone.

A statement that is booked as refused is never sent again: on a bare word that would let one false answer cost a unit,
or leave a good one provisional for ever. Answers with a sentence, never raises; no exchange with anybody.
"""

from __future__ import annotations

from typing import NamedTuple

from station import checks
from station.cloud import CloudRefusedError, PinRecord
from trust import act_receipt
from trust import repin as repins
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey, PublicKeyError
from trust.repin import Repin
from trust.root import RootError, TrustedRoot
from trust.signed import SignedError, nonces, signed_in
from trust.statement import Completion, PinStatement, StatementError, read


def refusal_problem(root: TrustedRoot, statement: Envelope, error: CloudRefusedError) -> str | None:
    """Why a refusal for good of this pin statement or completion is not believed; None if what it shows proves it."""
    if error.stored is None:
        return "it shows nothing that stands against the statement"
    try:
        theirs = _Theirs(checks.verified(root, error.stored), _later(root, error.stored), error.stored)
        if statement.payload_type == PinStatement.PAYLOAD_TYPE:
            found = _against_pin(read(statement, PinStatement), statement, theirs)
        else:
            found = _against_completion(read(statement, Completion), statement, theirs)
    except (StatementError, RootError, PublicKeyError, SignedError) as wrong:
        return f"what it shows does not hold: {wrong}"
    return None if found is error.code else "what it shows does not stand against the statement"


class _Theirs(NamedTuple):
    """What stands against the statement, verified: the first pin, and a key that the device got later, if that does."""

    pin: PinStatement
    later: Repin | None
    shown: PinRecord


def _later(root: TrustedRoot, shown: PinRecord) -> Repin | None:
    """The later key that is shown, by the registry's receipt and by the proof that the device holds it."""
    if shown.repin is None:
        return None
    if shown.repin_receipt is None:
        raise StatementError("a later key without its receipt")
    found, device = read(shown.repin, Repin), read(shown.statement, PinStatement).device_id
    if found.device_id != device:
        raise StatementError("a later key of another device")
    act_receipt.told(root, device, shown.repin, shown.repin_receipt)
    wrong = repins.problem(found, None)  # by its own proof: of old keys but the first one nothing is known here
    if wrong is not None:
        raise StatementError(wrong)
    return found


def _against_pin(ours: PinStatement, sent: Envelope, theirs: _Theirs) -> Code | None:
    """The refusal that the record proves, the gravest first, as the registry judges."""
    pin = theirs.pin
    if pin.device_id != ours.device_id:
        if _same_key(ours, theirs) or _share_nonce(ours, theirs):
            return Code.KEY_ON_OTHER_DEVICE
        return Code.JOB_BYTES_DIFFER if (pin.station, pin.job) == (ours.station, ours.job) else None
    if pin.fingerprint != ours.fingerprint:
        return Code.DEVICE_HAS_OTHER_KEY
    if pin.job != ours.job:
        return Code.PINNED_UNDER_OTHER_JOB
    return None if theirs.shown.statement.same_statement(sent) else Code.JOB_BYTES_DIFFER


def _against_completion(ours: Completion, sent: Envelope, theirs: _Theirs) -> Code | None:
    shown = theirs.shown
    if theirs.pin.device_id != ours.device_id:
        return Code.KEY_ON_OTHER_DEVICE if _share_nonce(ours, theirs) else None
    closed = shown.completion is not None and not shown.completion.same_statement(sent)
    return Code.JOB_BYTES_DIFFER if closed and shown.statement.payload_sha256 == ours.pin_sha256 else None


def _same_key(ours: PinStatement, theirs: _Theirs) -> bool:
    modulus = PublicKey.from_der(ours.spki, legacy=True).modulus
    keys = [theirs.pin.spki, *([] if theirs.later is None else [theirs.later.spki])]
    found = [PublicKey.from_der(each, legacy=True) for each in keys]
    return any(
        each.fingerprint == ours.fingerprint or (modulus is not None and each.modulus == modulus) for each in found
    )


def _share_nonce(ours: PinStatement | Completion, theirs: _Theirs) -> bool:
    """Whether an r of this statement is among all that the other device used in what is shown of it."""
    used = set(nonces(signed_in(theirs.pin)))
    if theirs.shown.completion is not None:
        used.update(nonces(signed_in(read(theirs.shown.completion, Completion))))
    if theirs.later is not None:
        used.update(repins.nonces_in(theirs.later))
    return not used.isdisjoint(nonces(signed_in(ours)))
