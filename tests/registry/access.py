"""A station that shows the registry who it is: assertions, DPoP proofs and tokens, written out here and not with the
product's code. For every test that needs a caller; change one thing to twist one.

    station = station_of(made)                                  # station-01 of a World
    response = await station.ask(client, "GET", "/v1/pins/…")   # client: an httpx2.AsyncClient of the application
    cloud = HttpCloud(url, tls_root, access=access_of(made))    # the station's own client, at a real process
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from station.cloud.access import Access
from tests.registry.make import World, ec_key, public

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(json.dumps(value, separators=(",", ":")).encode())


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jws(key: ec.EllipticCurvePrivateKey, header: str, payload: str) -> str:
    """From both parts as they are, so that a test can spell them as it likes."""
    return f"{header}.{payload}.{b64(raw_signature(key, f'{header}.{payload}'.encode()))}"


def jwk_of(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(numbers.x.to_bytes(32, "big")),
        "y": b64(numbers.y.to_bytes(32, "big")),
    }


@dataclass(slots=True)
class StationClient:
    """One station: its keys, and what it has of the registry. `issuer` is the registry's address by the trust root."""

    name: str
    key: ec.EllipticCurvePrivateKey
    issuer: str
    dpop: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    nonce: str | None = None
    token: str | None = None
    now: Callable[[], float] = time.time

    def assertion_header(self, **changes: Any) -> dict[str, Any]:
        header = {"alg": "ES256", "kid": public(self.key).fingerprint, "typ": "client-authentication+jwt"}
        return _changed(header, changes)

    def assertion_claims(self, **changes: Any) -> dict[str, Any]:
        at = int(self.now())
        claims = {
            "iss": self.name, "sub": self.name, "aud": self.issuer, "iat": at, "exp": at + 60, "jti": secrets.token_hex(16),
        }  # fmt: skip
        return _changed(claims, changes)

    def assertion(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return jws(self.key, part(header or self.assertion_header()), part(self.assertion_claims(**changes)))

    def proof_header(self, **changes: Any) -> dict[str, Any]:
        return _changed({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk_of(self.dpop)}, changes)

    def proof_claims(self, method: str, path: str, token: str | None = None, **changes: Any) -> dict[str, Any]:
        claims = {"htm": method, "htu": self.issuer + path, "iat": int(self.now()), "jti": secrets.token_hex(16)}
        if token is not None:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        return _changed(claims, changes)

    def proof(self, method: str, path: str, token: str | None = None, **changes: Any) -> str:
        claims = self.proof_claims(method, path, token, **changes)
        return jws(self.dpop, part(self.proof_header()), part(claims))

    def form(self, **changes: Any) -> bytes:
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": self.assertion(),
        }
        return urlencode(_changed(fields, changes)).encode()

    def headers(self, method: str, path: str) -> dict[str, str]:
        assert self.token is not None
        return {"authorization": f"DPoP {self.token}", "dpop": self.proof(method, path, self.token)}

    async def post_token(self, client: httpx2.AsyncClient, form: bytes, proof: str | None) -> httpx2.Response:
        headers = {"content-type": "application/x-www-form-urlencoded", **({} if proof is None else {"dpop": proof})}
        response = await client.post("/oauth/token", content=form, headers=headers)
        self.nonce = response.headers.get("dpop-nonce", self.nonce)
        return response

    async def sign_in(self, client: httpx2.AsyncClient) -> str:
        """A nonce if there is none, and a token."""
        for _ in range(2):
            response = await self.post_token(client, self.form(), self.proof("POST", "/oauth/token"))
            if response.status_code == 200:
                self.token = response.json()["access_token"]
                return self.token
        raise AssertionError(response.text)

    async def ask(
        self,
        client: httpx2.AsyncClient,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """A request as this station; one time more if its nonce is an old one."""
        if self.token is None:
            await self.sign_in(client)
        for _ in range(2):
            shown = {**self.headers(method, path), **(headers or {})}
            response = await client.request(method, path, content=body, headers=shown)
            self.nonce = response.headers.get("dpop-nonce", self.nonce)
            if '"dpop-nonce"' not in response.text:
                break
        return response


def station_of(made: World, name: str = "station-01", **more: Any) -> StationClient:
    return StationClient(name, made.stations[name].client, made.trusted.root.registry_url, **more)


@dataclass(frozen=True, slots=True)
class SoftwareAsserts:
    """The signer's one verb that access needs, with a key in memory."""

    station: StationClient

    async def client_assertion(self, audience: str) -> str:
        return self.station.assertion(aud=audience)


def access_of(made: World, name: str = "station-01") -> Access:
    """The station's own side of it, with a signer in memory."""
    return Access(made.trusted.root.registry_url, SoftwareAsserts(station_of(made, name)))


def _changed(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """None takes a member away."""
    return {name: each for name, each in {**value, **changes}.items() if each is not None}
