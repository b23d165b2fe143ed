"""What a device signed, taken out of the statements that carry it: its key, its proofs, the nonces that it used.

One answer for signer, registry and flow (docs/decisions/0015). Pure. Never judges a whole statement, never remembers
whose key or nonce was seen before, and the audit never asks here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from trust.identity import DeviceId
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.proof import CHALLENGE_BYTES, proof_message, report_message
from trust.statement import Closing, Completion, PinStatement, Possession

_R_BYTES = 32
_RSA_BYTES = frozenset({256, 128})  # as an RSA key's modulus (RFC 8017 §8.2.1); ECDSA P-256 in DER has 72 at most


class SignedError(ValueError):
    """No device can have signed this; the text says why."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A message and the device's signature over it."""

    message: bytes
    signature: bytes


def device_key(pin: PinStatement) -> PublicKey:
    """The device's key, if key, type and fingerprint in the statement agree; PublicKeyError otherwise."""
    key = PublicKey.from_der(pin.spki, legacy=pin.key_type == KeyType.RSA_1024.value)
    if key.key_type.value != pin.key_type:
        raise PublicKeyError(f"it is {key.key_type.value}, the statement says {pin.key_type}")
    if key.fingerprint != pin.fingerprint:
        raise PublicKeyError("the fingerprint in the statement is another key's")
    return key


def signed_in(statement: PinStatement | Completion) -> tuple[Signed, ...]:
    """All that the device signed for this statement; SignedError when device id or a challenge is malformed."""
    try:
        device = DeviceId.parse(statement.device_id)
        if isinstance(statement, PinStatement):
            return proof_signed(device, statement.possession)
        return (*proof_signed(device, statement.verification.possession), report_signed(statement.closing))
    except ValueError as error:
        raise SignedError(str(error)) from error


def proof_signed(device: DeviceId, proof: Possession) -> tuple[Signed, ...]:
    """Both signatures of a proof of possession; SignedError."""
    try:
        message = proof_message(device, proof.context, proof.challenge)
    except ValueError as error:
        raise SignedError(str(error)) from error
    return tuple(Signed(message, each) for each in proof.signatures)


def report_signed(closing: Closing) -> Signed:
    """The closing report with its signature; SignedError."""
    try:
        return Signed(report_message(closing.challenge, closing.report), closing.signature)
    except ValueError as error:
        raise SignedError(str(error)) from error


def possession_problem(key: PublicKey, device: DeviceId, context: str, proof: Possession) -> str | None:
    """Why the proof does not show that this device holds this key, in this context; None if it does."""
    if proof.context != context:
        return f"proof of possession is for context {proof.context!r}, expected {context!r}"
    if len(proof.challenge) != CHALLENGE_BYTES:
        return f"proof of possession: a challenge has {CHALLENGE_BYTES} bytes, got {len(proof.challenge)}"
    if not all(key.verifies(each.signature, each.message) for each in proof_signed(device, proof)):
        return "proof of possession: a signature does not verify with the device's key"
    return None


def nonces(signed: Iterable[Signed]) -> tuple[bytes, ...]:
    """The r of each different ECDSA signature, 32 bytes each; RSA has none. SignedError for what is neither.

    The same bytes over the same message count once: a deterministic signer (RFC 6979). Any other repetition stays.
    """
    return tuple(_nonce(each.signature) for each in dict.fromkeys(signed) if len(each.signature) not in _RSA_BYTES)


def nonce_problem(signed: Iterable[Signed]) -> str | None:
    """Why these signatures give the device's private key away; None if they do not. They must have verified."""
    try:
        used = nonces(signed)
    except SignedError as error:
        return str(error)
    return "two different signatures of the device share r: anybody can compute its key" if _twice(used) else None


def _twice(values: tuple[bytes, ...]) -> bool:
    return len(set(values)) != len(values)


def _nonce(signature: bytes) -> bytes:
    try:
        return decode_dss_signature(signature)[0].to_bytes(_R_BYTES)
    except (ValueError, OverflowError) as error:
        raise SignedError(f"a device's signature is neither RSA nor ECDSA in DER ({error})") from error
