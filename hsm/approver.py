"""An approver's own key at work: a file with a passphrase, or a PKCS#11 token. Signs one document that was shown.

For people's machines, never for a signer's: no approver's key is ever in a signer's token or directory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

import given
from hsm.config import SetupError
from hsm.files import FileThereError, write_file
from hsm.token import Token
from hsm.token.user_pin import UserPin
from trust.approval import Approvers, approved
from trust.dsse import Envelope, Signature
from trust.keys import PublicKey
from trust.kinds import PRIVATE_KEY, wrong_kind
from trust.printable import plainly

MIN_PASSPHRASE = 12  # characters: a stolen file is guessed at offline


class ApproverKey(Protocol):
    """One person's signing key."""

    @property
    def public(self) -> PublicKey:
        """Its public half, as it stands in the trust root."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over the message, in DER."""


def approve(
    envelope: Envelope, key: ApproverKey, *judges: Approvers, known: Approvers | None = None, wanted: str = ""
) -> Envelope:
    """The document with this key's signature added; SetupError when it does not verify, or would approve nothing.

    `judges` are the lists of people who may approve it. Signatures of keys that none of them names go, and this
    person's older one with another key: each of them would spoil the document for everybody. A document that has this
    key's signature already, and nothing to be taken out, is given back as it is. `known` are all whom the root names,
    and `wanted` who approves this: for whoever may not.
    """
    mine = key.public.fingerprint
    named = [_owners(judge) for judge in judges]
    if not any(mine in owners for owners in named):
        raise SetupError(_not_yours(mine, known or {}, wanted))
    kept = tuple(
        each
        for each in envelope.signatures
        if any(each.keyid in owners for owners in named)
        and (
            each.keyid == mine or not any(mine in owners and owners.get(each.keyid) == owners[mine] for owners in named)
        )
    )
    if kept == envelope.signatures and any(
        each.keyid == mine and key.public.verifies(each.sig, envelope.pae) for each in kept
    ):
        return envelope
    envelope = msgspec.structs.replace(envelope, signatures=kept)
    signature = key.sign(envelope.pae)
    if not key.public.verifies(signature, envelope.pae):
        raise SetupError("the signature that was made does not verify: take this key out of use")
    return approved(envelope, Signature(key.public.fingerprint, signature))


def _not_yours(mine: str, known: Approvers, wanted: str) -> str:
    person = _owners(known).get(mine)
    if person is None:
        text = f"key {mine} is of nobody whom the trust root has approve this"
        return f"{text}: nothing was signed; give your own key, and the newest root"
    roles = " and ".join(known[person].roles)
    return f"this is {person}'s key, whose role is {roles}; this is approved by {wanted}: nothing was signed"


def _owners(approvers: Approvers) -> dict[str, str]:
    """Fingerprint to the person whose key it is."""
    return {PublicKey.from_der(spki).fingerprint: name for name, each in approvers.items() for spki in each.keys}


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key out of a PEM file."""

    private: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        return _public(self.private)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, in DER."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key on a PKCS#11 token, by its label."""

    token: Token
    label: str

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        return PublicKey.from_der(self.token.public_key(self.label))

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, in DER."""
        return self.token.sign_ecdsa(self.label, hashlib.sha256(message).digest())


def new_key_file(path: Path, passphrase: UserPin) -> PublicKey:
    """Make a key in a new file of mode 0600, encrypted; its public half. SetupError if the file is there."""
    if len(passphrase.reveal()) < MIN_PASSPHRASE:
        raise SetupError(f"a passphrase has {MIN_PASSPHRASE} characters at least: the file may be stolen")
    private = ec.generate_private_key(ec.SECP256R1())
    data = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.reveal().encode())
    )
    try:
        write_file(path, data, 0o600)
    except FileThereError as error:
        raise SetupError(str(error)) from error
    return _public(private)


def require_key_file(path: Path) -> None:
    """There is a private key in the file, as far as one sees without its passphrase; SetupError."""
    try:
        wrong = wrong_kind(given.read(path), PRIVATE_KEY)
    except OSError as error:
        raise SetupError(f"approver's key {path}: {plainly(error)}: name the file with --key") from error
    if wrong is not None:
        raise SetupError(f"{path} {wrong}: the file of station-signer approver new")


def read_key_file(path: Path, passphrase: UserPin) -> FileKey:
    """The key in the file; SetupError says whether file or passphrase is wrong."""
    try:
        private = load_pem_private_key(given.read(path), passphrase.reveal().encode())
    except OSError as error:
        raise SetupError(f"approver's key {path}: {plainly(error)}: name the file with --key") from error
    except (ValueError, TypeError) as error:
        text = f"approver's key {path}: not a key that this passphrase opens"
        raise SetupError(f"{text}: give the file of station-signer approver new, and its passphrase") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise SetupError(f"approver's key {path}: not EC P-256: make one with station-signer approver new")
    return FileKey(private)


def _public(private: ec.EllipticCurvePrivateKey) -> PublicKey:
    return PublicKey.from_der(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
