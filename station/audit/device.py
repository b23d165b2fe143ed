"""What the device itself gave: its key, its proofs of possession, and the nonces of its signatures.

Pure. Written from docs/statements.md and docs/wire.md for the audit alone, and imported by nobody else: signer,
registry and flow have `trust.signed`, which is among what is audited (docs/decisions/0015).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from trust.identity import DeviceId
from trust.keys import KeyType, PublicKey
from trust.proof import CHALLENGE_BYTES, proof_message, proves, report_message
from trust.statement import Completion, PinStatement, Possession

_EC_MOST_BYTES = 72  # of a P-256 signature in DER; an RSA signature has 128 or 256


def key_of(pin: PinStatement) -> PublicKey:
    """The device key that a pin statement names; ValueError if it is none, or not the one that the statement says."""
    key = PublicKey.from_der(pin.spki, legacy=pin.key_type == KeyType.RSA_1024.value)
    if (key.fingerprint, key.key_type) != (pin.fingerprint, KeyType(pin.key_type)):
        raise ValueError("pin statement: fingerprint or key type is not that of its key")
    return key


def possession(key: PublicKey, device: str, context: str, proof: Possession) -> Iterator[str]:
    """What does not hold about a proof of possession."""
    if proof.context != context or len(proof.challenge) != CHALLENGE_BYTES:
        yield f"proof of possession is for {proof.context!r}, expected {context!r} and {CHALLENGE_BYTES} bytes"
        return
    identity = DeviceId.parse(device)
    if not all(proves(key, identity, context, proof.challenge, each) for each in proof.signatures):
        yield "proof of possession does not verify with the device's key"


def nonces(body: PinStatement | Completion) -> Iterator[tuple[int, bytes]]:
    """The r of each ECDSA signature that the device made, and a hash of message and signature. ValueError.

    An r is fit to be seen again with the very same hash only: a deterministic signer (RFC 6979).
    """
    device = DeviceId.parse(body.device_id)
    proof = body.possession if isinstance(body, PinStatement) else body.verification.possession
    message = proof_message(device, proof.context, proof.challenge)
    made = [(message, each) for each in proof.signatures]
    if isinstance(body, Completion):
        made.append((report_message(body.closing.challenge, body.closing.report), body.closing.signature))
    for signed, signature in made:
        if len(signature) <= _EC_MOST_BYTES:
            whole = hashlib.sha256(hashlib.sha256(signed).digest() + signature).digest()
            yield decode_dss_signature(signature)[0], whole
