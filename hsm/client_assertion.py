"""The station's `private_key_jwt` client assertion: a JWS composed here, signed by the client key and nothing else.

Sources: RFC 7523 §3, RFC 10070 (issuer as the only audience, explicit type), RFC 7515 §3.1, RFC 7518 §3.4. Never made
for another audience than the root's registry.
"""

from __future__ import annotations

import base64
import secrets
from functools import partial

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hsm.purposes import Purpose
from hsm.resign import once_more
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code

_LIFETIME_S = 60
_SCALAR_BYTES = 32
_JTI_BYTES = 16


def client_assertion(signatory: Signatory, audience: str) -> str:
    """A fresh assertion for the registry's issuer, good for one minute and one use."""
    issuer = signatory.trusted.root.registry_url
    if audience != issuer:
        text = f"audience {audience[:200]!r}: assertions are made for the root's registry {issuer!r} only"
        raise SignerError(Code.NOT_AUTHORISED, text)
    kid = signatory.keys.fingerprint(Purpose.CLIENT)
    issued_at = int(signatory.now())
    claims = {
        "aud": issuer,
        "exp": issued_at + _LIFETIME_S,
        "iat": issued_at,
        "iss": signatory.name,
        "jti": secrets.token_hex(_JTI_BYTES),
        "sub": signatory.name,
    }
    signed = f"{_part({'alg': 'ES256', 'kid': kid, 'typ': 'client-authentication+jwt'})}.{_part(claims)}"
    with signatory.counters.transaction():
        signatory.counters.count_signature(Purpose.CLIENT)
    sign = partial(signatory.keys.sign, Purpose.CLIENT, signed.encode())
    r, s = decode_dss_signature(once_more(signatory.counters, Purpose.CLIENT, sign))
    return f"{signed}.{_base64url(r.to_bytes(_SCALAR_BYTES) + s.to_bytes(_SCALAR_BYTES))}"


def _part(value: dict[str, object]) -> str:
    return _base64url(msgspec.json.encode(value, order="sorted"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
