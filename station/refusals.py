"""What the registry's *no* proves. A refusal for good is believed by the record that it shows, never by its code alone.

A statement that is booked as refused is never sent again: on a bare word that would let one false answer cost a unit,
or leave a good one provisional for ever. Answers with a sentence, never raises; no exchange with anybody.
"""

from __future__ import annotations

from station import checks
from station.cloud import CloudRefusedError, PinRecord
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey, PublicKeyError
from trust.root import RootError, TrustedRoot
from trust.signed import SignedError, nonces, signed_in
from trust.statement import Completion, PinStatement, StatementError, read


def refusal_problem(root: TrustedRoot, statement: Envelope, error: CloudRefusedError) -> str | None:
    """Why a refusal for good of this pin statement or completion is not believed; None if what it shows proves it."""
    if error.stored is None:
        return "it shows nothing that stands against the statement"
    try:
        theirs = checks.verified(root, error.stored)
        if statement.payload_type == PinStatement.PAYLOAD_TYPE:
            found = _against_pin(read(statement, PinStatement), statement, theirs, error.stored)
        else:
            found = _against_completion(read(statement, Completion), statement, theirs, error.stored)
    except (StatementError, RootError, PublicKeyError, SignedError) as wrong:
        return f"what it shows does not hold: {wrong}"
    return None if found is error.code else "what it shows does not stand against the statement"


def _against_pin(ours: PinStatement, sent: Envelope, theirs: PinStatement, shown: PinRecord) -> Code | None:
    """The refusal that the record proves, the gravest first, as the registry judges."""
    if theirs.device_id != ours.device_id:
        if _same_key(ours, theirs) or _share_nonce(ours, theirs, shown):
            return Code.KEY_ON_OTHER_DEVICE
        return Code.JOB_BYTES_DIFFER if (theirs.station, theirs.job) == (ours.station, ours.job) else None
    if theirs.fingerprint != ours.fingerprint:
        return Code.DEVICE_HAS_OTHER_KEY
    if theirs.job != ours.job:
        return Code.PINNED_UNDER_OTHER_JOB
    return None if shown.statement.same_statement(sent) else Code.JOB_BYTES_DIFFER


def _against_completion(ours: Completion, sent: Envelope, theirs: PinStatement, shown: PinRecord) -> Code | None:
    if theirs.device_id != ours.device_id:
        return Code.KEY_ON_OTHER_DEVICE if _share_nonce(ours, theirs, shown) else None
    closed = shown.completion is not None and not shown.completion.same_statement(sent)
    return Code.JOB_BYTES_DIFFER if closed and shown.statement.payload_sha256 == ours.pin_sha256 else None


def _same_key(ours: PinStatement, theirs: PinStatement) -> bool:
    modulus = PublicKey.from_der(ours.spki).modulus
    return theirs.fingerprint == ours.fingerprint or (
        modulus is not None and PublicKey.from_der(theirs.spki).modulus == modulus
    )


def _share_nonce(ours: PinStatement | Completion, theirs: PinStatement, shown: PinRecord) -> bool:
    """Whether an r of this statement is among all that the other device used in this record."""
    used = set(nonces(signed_in(theirs)))
    if shown.completion is not None:
        used.update(nonces(signed_in(read(shown.completion, Completion))))
    return not used.isdisjoint(nonces(signed_in(ours)))
