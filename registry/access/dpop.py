"""A DPoP proof: whoever made it holds this key, and made it now, for this request and this token. Pure.

Source: RFC 9449 §4.2 and §4.3, RFC 7638 (thumbprint). Stricter than it: ES256 only, known members and claims only, and
addresses are compared byte for byte. Whether the proof was used before is for the database to say.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from registry.access.assertion import Jti, Seconds
from registry.access.jws import JwsError, decode, encode, parse

SKEW_S = 30  # between the station's clock and ours
_TYP = "dpop+jwt"
_MEMBERS = frozenset({"alg", "jwk", "typ"})
_JWK = frozenset({"crv", "kty", "x", "y"})  # no private part, nothing that says what the key is for
_COORDINATE_BYTES = 32
_Text = Annotated[str, msgspec.Meta(max_length=512)]


class DpopError(ValueError):
    """The proof does not hold; the text says why."""


class NonceWantedError(DpopError):
    """It holds, but for the nonce: one that we have given of late is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the proof must be for. `token` None: no access token goes with the request."""

    method: str
    url: str
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One that holds: its key's thumbprint (RFC 7638), which proof it is, until when, and the nonce that it names."""

    thumbprint: str
    jti: str
    until: int
    nonce: str


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    htm: _Text
    htu: _Text
    iat: Seconds
    jti: Jti
    ath: _Text | msgspec.UnsetType = msgspec.UNSET
    nonce: _Text | msgspec.UnsetType = msgspec.UNSET


def check_proof(headers: tuple[str, ...], request: Request, known: Callable[[str], bool], now_s: int) -> Proof:
    """The proof in a request's DPoP headers, of which there must be one; DpopError, NonceWantedError.

    `known` says of a nonce whether it is one that we have given of late.
    """
    if len(headers) != 1:
        raise DpopError(f"{len(headers)} DPoP headers, one is wanted")
    try:
        jws = parse(headers[0], typ=_TYP, members=_MEMBERS)
        key, thumbprint = _key(jws.header["jwk"])
        jws.verify(key)
        claims = jws.claims(_Claims)
    except JwsError as error:
        raise DpopError(f"DPoP proof: {error}") from error
    _require_request(claims, request)
    if claims.nonce is msgspec.UNSET or not known(claims.nonce):
        raise NonceWantedError("DPoP proof: make it again with the nonce of this answer")
    if abs(claims.iat - now_s) > SKEW_S:
        raise DpopError(f"DPoP proof: made {now_s - claims.iat} s ago by the sender's clock: set the clock")
    return Proof(thumbprint=thumbprint, jti=claims.jti, until=claims.iat + SKEW_S, nonce=claims.nonce)


def access_token_hash(token: str) -> str:
    """`ath` (RFC 9449 §4.2)."""
    return encode(hashlib.sha256(token.encode()).digest())


def _require_request(claims: _Claims, request: Request) -> None:
    if claims.htm != request.method:
        raise DpopError("DPoP proof: made for another method")
    if claims.htu != request.url:
        raise DpopError("DPoP proof: made for another address")
    if request.token is None:
        if claims.ath is not msgspec.UNSET:
            raise DpopError("DPoP proof: it names an access token where none is used")
    elif claims.ath is msgspec.UNSET or not hmac.compare_digest(claims.ath.encode(), _ath(request.token)):
        raise DpopError("DPoP proof: made for another access token")


def _ath(token: str) -> bytes:
    return access_token_hash(token).encode()


def _key(jwk: Any) -> tuple[ec.EllipticCurvePublicKey, str]:
    """The proof's own key and its thumbprint; JwsError unless it is a plain public one on P-256."""
    if not isinstance(jwk, dict) or set(jwk) != _JWK or not all(isinstance(each, str) for each in jwk.values()):
        raise JwsError(f"jwk must have exactly {', '.join(sorted(_JWK))}")
    if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
        raise JwsError("its key is not on P-256")
    x, y = decode(jwk["x"]), decode(jwk["y"])
    if len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
        raise JwsError("a coordinate of its key has not 32 bytes")
    try:
        key = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()).public_key()
    except ValueError as error:
        raise JwsError("its key is no point of P-256") from error
    canonical = msgspec.json.encode({name: jwk[name] for name in sorted(_JWK)})  # RFC 7638 §3.3: ASCII, no space
    return key, encode(hashlib.sha256(canonical).digest())
