"""Proof that a device holds its private key, judged by the signer itself. Never takes the station's word."""

from __future__ import annotations

from hsm.signer import SignerError
from trust.codes import Code
from trust.identity import DeviceId, IdentityError
from trust.keys import PublicKey
from trust.signed import nonce_problem, possession_problem, proof_signed
from trust.statement import Completion, PinStatement, Possession, Receipt


def device_of(statement: PinStatement | Completion | Receipt) -> DeviceId:
    """The device that a statement speaks of; MALFORMED for an id that no device has (also erased or zeroed fuses)."""
    try:
        return DeviceId.parse(statement.device_id)
    except IdentityError as error:
        raise SignerError(Code.MALFORMED, str(error)) from error


def require_possession(key: PublicKey, device: DeviceId, context: str, possession: Possession) -> None:
    """Both signatures must be this key's over this challenge for this device, nonces fresh; PROOF_INVALID otherwise."""
    wrong = possession_problem(key, device, context, possession) or nonce_problem(proof_signed(device, possession))
    if wrong is not None:
        raise SignerError(Code.PROOF_INVALID, wrong)
