"""A station's client assertion: what it must say, and by which key it must be signed. Pure; consumes nothing.

Sources: RFC 7523 §3, RFC 10070 (the issuer as the only audience, explicit type), RFC 7521 §5.2. The key is the one that
the trust root gives the station to sign assertions with; the assertion's `kid` may only agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from registry.access.jws import Jws, JwsError, p256_key, parse
from trust.codes import Code
from trust.keys import PublicKey
from trust.printable import printable
from trust.root import Root

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_LIFETIME_S = 60
SKEW_S = 30  # between the clock of the station's signer and ours
_TYP = "client-authentication+jwt"
_MEMBERS = frozenset({"alg", "kid", "typ"})
_NAME_CHARACTERS = 64
_LAST_S = 253_402_300_799  # the year 9999

Jti = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{16,128}\Z")]  # 64 bits at least, as hex or base64url
Seconds = Annotated[int, msgspec.Meta(ge=0, le=_LAST_S)]


class ClientRefusedError(Exception):
    """It is not known who asks for a token; `code` says why, the text what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who made an assertion that holds, by which key, and which assertion it was, until when (Unix seconds)."""

    station: str
    key_sha256: str
    jti: str
    until: int


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    aud: str
    exp: Seconds
    iat: Seconds
    iss: str
    jti: Jti
    sub: str


def check_assertion(text: str, root: Root, now_s: int) -> Client:
    """Who made it; ClientRefusedError. Whether it was used before is for the database to say."""
    try:
        jws = parse(text, typ=_TYP, members=_MEMBERS)
        claims = jws.claims(_Claims)
        key = _client_key(root, claims)
        _verify(jws, key)
    except JwsError as error:
        raise ClientRefusedError(Code.ASSERTION_INVALID, f"client assertion: {error}") from error
    # From here on the station's signer has said it: whoever it is may know what does not fit.
    if claims.aud != root.registry_url:
        text = f"it is made for {printable(claims.aud, 200)!r}, this is {root.registry_url!r}"
        raise ClientRefusedError(Code.ASSERTION_INVALID, f"client assertion: {text}: compare the trust roots")
    _require_time(claims, now_s)
    return Client(station=claims.iss, key_sha256=key.fingerprint, jti=claims.jti, until=claims.exp + SKEW_S)


def _verify(jws: Jws, key: PublicKey) -> None:
    if jws.header["kid"] != key.fingerprint:
        raise JwsError("its kid is not the key that the trust root gives the station to sign assertions with")
    jws.verify(p256_key(key.spki))


def _client_key(root: Root, claims: _Claims) -> PublicKey:
    if claims.iss != claims.sub:
        raise JwsError("issuer and subject differ")
    keys = root.stations.get(claims.iss)
    if keys is None:
        name = printable(claims.iss, _NAME_CHARACTERS)
        text = f"the registry's trust root (version {root.version}) names no station {name!r}"
        raise ClientRefusedError(Code.CLIENT_UNKNOWN, f"{text}: have it enrolled, or serve the newest root")
    return PublicKey.from_der(keys.client)


def _require_time(claims: _Claims, now_s: int) -> None:
    """RFC 7523 §3: begun, not over, and made for no longer than a minute."""
    if not 0 < claims.exp - claims.iat <= MAX_LIFETIME_S:
        text = f"client assertion: it is made for {claims.exp - claims.iat} s, 1 to {MAX_LIFETIME_S} s are taken"
        raise ClientRefusedError(Code.ASSERTION_INVALID, text)
    if claims.iat - SKEW_S <= now_s <= claims.exp + SKEW_S:
        return
    made, here = (f"{datetime.fromtimestamp(each, UTC):%Y-%m-%dT%H:%M:%SZ}" for each in (claims.iat, now_s))
    text = f"client assertion: made at {made} by the signer's clock, here it is {here}"
    raise ClientRefusedError(Code.ASSERTION_TIME, f"{text}: set the clock that is wrong")
