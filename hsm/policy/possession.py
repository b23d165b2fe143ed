"""Proof that a device holds its private key, judged by the signer itself. Never takes the station's word."""

from __future__ import annotations

from hsm.counters import Counters
from hsm.signer import SignerError
from trust.codes import Code
from trust.identity import DeviceId, IdentityError
from trust.keys import PublicKey
from trust.signed import nonce_problem, nonces, possession_problem, proof_signed, signed_in
from trust.statement import Completion, PinStatement, Possession, Receipt


def device_of(statement: PinStatement | Completion | Receipt) -> DeviceId:
    """The device that a statement speaks of; MALFORMED for an id that no device has (also erased or zeroed fuses)."""
    try:
        return DeviceId.parse(statement.device_id)
    except IdentityError as error:
        raise SignerError(Code.MALFORMED, str(error)) from error


def claim_nonces(counters: Counters, statement: PinStatement | Completion) -> None:
    """Take each ECDSA r of the device's signatures, inside the reserving transaction: two with one r give keys away.

    KEY_ON_OTHER_DEVICE for another device's, PROOF_INVALID for one that this device has used before.
    """
    for r in nonces(signed_in(statement)):
        owner = counters.claim_nonce(r, statement.device_id)
        if owner == statement.device_id:
            text = "the device has signed another message with the same r: anybody can compute its key"
            raise SignerError(Code.PROOF_INVALID, f"{text}: quarantine it")
        if owner is not None:
            text = f"a signature of the device has the r of one of device {owner}: random numbers repeat"
            raise SignerError(Code.KEY_ON_OTHER_DEVICE, f"{text}: stop, quarantine both")


def require_possession(key: PublicKey, device: DeviceId, context: str, possession: Possession) -> None:
    """Both signatures must be this key's over this challenge for this device, nonces fresh; PROOF_INVALID otherwise."""
    wrong = possession_problem(key, device, context, possession) or nonce_problem(proof_signed(device, possession))
    if wrong is not None:
        raise SignerError(Code.PROOF_INVALID, wrong)
