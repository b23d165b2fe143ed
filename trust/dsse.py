"""DSSE v1 envelopes: exact bytes, their type, and who signed them.

The payload is kept verbatim and never re-serialised. A `keyid` says which key a signature claims; the caller says which
key is trusted, and both must be the same.
Source: DSSE protocol v1.0.2 (PAE and envelope). Signatures are ECDSA P-256 with SHA-256 in DER, so that bare
`openssl dgst -sha256 -verify` checks one (docs/statements.md). Never signs anything itself.
"""

from __future__ import annotations

import hashlib
from typing import Self

import msgspec

from trust.keys import PublicKey
from trust.printable import quoted

MAX_ENVELOPE_BYTES = 65_535


class EnvelopeError(ValueError):
    """Not an envelope that we take; the text says why."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; `keyid` is the signing key's fingerprint."""

    keyid: str
    sig: bytes


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Payload bytes, their media type, zero or more signatures."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """From JSON of at most 65,535 bytes in exactly the form `to_json` writes; raises EnvelopeError."""
        if len(data) > MAX_ENVELOPE_BYTES:
            raise EnvelopeError(f"envelope of {len(data)} bytes: at most {MAX_ENVELOPE_BYTES} are taken")
        try:
            envelope = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EnvelopeError(f"not a DSSE envelope: {quoted(error)}") from error
        if envelope.to_json() != data:
            raise EnvelopeError("envelope is not in canonical form: keys twice, out of order, or extra space")
        return envelope

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no space."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def payload_sha256(self) -> str:
        """SHA-256 of the payload bytes, hex: how other statements refer to this one."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def pae(self) -> bytes:
        """The bytes that are signed."""
        return pae(self.payload_type, self.payload)

    def signed_by(self, key: PublicKey) -> bool:
        """Whether there is exactly one signature, it claims this key, and it holds.

        A second signature, even a junk one, would make other bytes of the same statement: none is taken.
        """
        if len(self.signatures) != 1:
            return False
        (only,) = self.signatures
        return only.keyid == key.fingerprint and key.verifies(only.sig, self.pae)

    def same_statement(self, other: Envelope) -> bool:
        """Whether both carry the same payload of the same type, whatever the signatures.

        ECDSA gives many valid signatures over one payload (even from one: r, n - s), so signatures are verified, never
        compared.
        """
        return (self.payload_type, self.payload) == (other.payload_type, other.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
