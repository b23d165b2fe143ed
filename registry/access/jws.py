"""A compact JWS read strictly: ES256 and nothing else, known header members only, one spelling of everything.

Sources: RFC 7515 §3.1 and §5.2 (form), RFC 7518 §3.4 (ES256 is r‖s of 32 bytes each), RFC 8725 §3.1 to §3.11 (what goes
wrong). The key is the caller's: nothing in the token names, brings or fetches one. Pure; knows no claim.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

MAX_BYTES = 4096
_PARTS, _SCALAR_BYTES = 3, 32
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-5)
C = TypeVar("C", bound=msgspec.Struct)


class JwsError(ValueError):
    """Not such a JWS; the text says what is wrong with it and quotes none of it."""


@dataclass(frozen=True, slots=True)
class Jws:
    """What a token says, not verified yet."""

    header: Mapping[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """The signature holds under this P-256 key; JwsError."""
        r, s = (int.from_bytes(self.signature[at : at + _SCALAR_BYTES]) for at in (0, _SCALAR_BYTES))
        if not (0 < r < _ORDER and 0 < s < _ORDER):
            raise JwsError("its signature is out of range")
        try:
            key.verify(encode_dss_signature(r, s), self.signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise JwsError("its signature does not verify") from error

    def claims(self, kind: type[C]) -> C:
        """The payload as such a struct, no claim more and none less; JwsError."""
        json_object(self.payload, "its payload")
        try:
            return msgspec.json.decode(self.payload, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise JwsError("its claims are not those that are wanted") from error


def parse(token: str, *, typ: str, members: frozenset[str]) -> Jws:
    """A token of this explicit type, whose header has exactly these members; JwsError."""
    if len(token) > MAX_BYTES or not token.isascii():
        raise JwsError(f"it has more than {MAX_BYTES} bytes, or other characters than a JWS")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise JwsError("it has not the three parts of a compact JWS")
    header = json_object(decode(parts[0]), "its header")
    if set(header) != members:
        raise JwsError(f"its header must have exactly {', '.join(sorted(members))}")
    if header["typ"] != typ:
        raise JwsError(f"it is not of type {typ}")
    if header["alg"] != "ES256":
        raise JwsError("it is not signed with ES256")
    signature = decode(parts[2])
    if len(signature) != 2 * _SCALAR_BYTES:
        raise JwsError("its signature is not the 64 bytes of ES256")
    return Jws(header, decode(parts[1]), f"{parts[0]}.{parts[1]}".encode(), signature)


def p256_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a DER SubjectPublicKeyInfo; JwsError unless it is on P-256."""
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise JwsError("its key is not on P-256")
    return key


def decode(text: str) -> bytes:
    """Base64url without padding, in its one spelling (RFC 4648 §3.5: unused bits are zero); JwsError."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise JwsError("a part of it is not base64url") from error
    if not data or encode(data) != text:
        raise JwsError("a part of it is empty, or not base64url in its one spelling")
    return data


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """One JSON object, in UTF-8 and without a member twice at any depth; JwsError."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise JwsError(f"{what} is not one JSON object, each member once") from error
    if not isinstance(found, dict):
        raise JwsError(f"{what} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
