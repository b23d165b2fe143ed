"""A new key of a device that has a pin already: shown by the key itself over the registry's one-use challenge.

The statement is signed by nobody: the approved act that it names says who wanted it, the proofs in it show the keys,
and the registry's receipt says when. Pure; shared by the registry, its readers and whoever brings a device.
"""

from __future__ import annotations

import hashlib
from typing import Final

from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError
from trust.proof import CHALLENGE_BYTES
from trust.signed import SignedError, nonce_problem, nonces, possession_problem, proof_signed
from trust.statement import DeviceHex, Hex32, KeyTypeName, MaybeHex32, Name, Possession, Statement

NEW, OLD = "repin", "repin-old"
"""Contexts of the proofs: by the new key, and by the one that it follows."""
_LABEL: Final = b"keystation-repin-v1\x00"


class Repin(Statement, frozen=True, kw_only=True, tag="repin"):
    """Device `device_id` holds the private key of `spki` as well; never signed.

    `challenge` (32 bytes) is the registry's. `old_possession` is there under an act that names no new key: the device
    itself vouches for it with the key that is pinned, and `authorisation_sha256` says by whose leave it was made.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.repin.v1+json"
    registry: Name
    device_id: DeviceHex
    act_sha256: Hex32
    authorisation_sha256: MaybeHex32 = ""
    challenge: bytes
    key_type: KeyTypeName
    spki: bytes
    fingerprint: Hex32
    possession: Possession
    old_possession: Possession | None = None


def bound(challenge: bytes, act_sha256: str, authorisation_sha256: str, fingerprint: str) -> bytes:
    """What a device proves over: the registry's challenge, tied to act, authorisation (or none) and new key."""
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, got {len(challenge)}")
    hashes = [act_sha256, authorisation_sha256 or "00" * 32, fingerprint]
    return hashlib.sha256(_LABEL + challenge + b"".join(bytes.fromhex(each) for each in hashes)).digest()


def problem(repin: Repin, old: PublicKey | None) -> str | None:
    """Why it does not show that the device holds the new key; None if it does.

    `old`: the key that must vouch for it; None where the act names the new key.
    """
    try:
        device, key = DeviceId.parse(repin.device_id), PublicKey.from_der(repin.spki)
        wanted = bound(repin.challenge, repin.act_sha256, repin.authorisation_sha256, repin.fingerprint)
    except (PublicKeyError, ValueError) as error:
        return f"new key: {error}"
    if (key.key_type.value, key.fingerprint) != (repin.key_type, repin.fingerprint):
        return "new key: its type or fingerprint is not the one that is named"
    wrong = _proof_problem(key, device, NEW, repin.possession, wanted)
    if wrong is None and old is not None:
        if repin.old_possession is None:
            return "the act names no new key: the pinned key must vouch for it (old_possession)"
        wrong = _proof_problem(old, device, OLD, repin.old_possession, wanted)
    return wrong


def nonces_in(repin: Repin) -> list[bytes]:
    """The r of each ECDSA signature in it, by the new key and by the old one; SignedError."""
    try:
        device = DeviceId.parse(repin.device_id)
    except ValueError as error:
        raise SignedError(str(error)) from error
    proofs = [repin.possession] if repin.old_possession is None else [repin.possession, repin.old_possession]
    return [each for proof in proofs for each in nonces(proof_signed(device, proof))]


def _proof_problem(key: PublicKey, device: DeviceId, context: str, proof: Possession, wanted: bytes) -> str | None:
    if proof.challenge != wanted:
        return f"proof {context}: it is over another challenge, act, authorisation or key"
    return possession_problem(key, device, context, proof) or nonce_problem(proof_signed(device, proof))
