"""What Particle's own clients put on the wire, written down from runs of them on loopback; values are filled in.

Seen from particle-cli 3.43.1 (the newest that its makers let run on Node.js 20; it still sends the token's and the
key's requests by itself) and particle-api-js 12.0.3. tests/registry/particle/test_stock_tools.py runs the real ones
where they are at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

AT_MS = 1796019281089
_FORM = "application/x-www-form-urlencoded"
_API_JS = "particle-api-js/12.0.3 (https://github.com/particle-iot/particle-api-js)"
_API_JS_HEADERS = {"user-agent": _API_JS, "accept": "*/*", "accept-encoding": "gzip,deflate"}
_CLI_HEADERS = {"accept": "application/json", "content-type": _FORM}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was seen."""

    method: str
    path: str
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def _escaped(text: str) -> str:
    """As both clients' libraries escape a form's values: a space is %20."""
    return quote(text, safe="~()*!.'")


@dataclass(frozen=True, slots=True)
class Cli:
    """particle-cli 3.43.1. It has its own form of the first requests, and leaves `logout` to particle-api-js 11."""

    name: str = "particle-cli"

    def password(self, user: str, password: str) -> Request:
        body = f"username={_escaped(user)}&password={_escaped(password)}&grant_type=password&client_id=CLI2&client_secret=client_secret_here"
        return Request("POST", "/oauth/token", body, {**_CLI_HEADERS, "authorization": "Bearer null"})

    def code(self, mfa_token: str, otp: str) -> Request:
        grant = _escaped("urn:custom:mfa-otp")
        body = f"mfa_token={mfa_token}&otp={otp}&grant_type={grant}&client_id=CLI2&client_secret=client_secret_here"
        return Request("POST", "/oauth/token", body, {**_CLI_HEADERS, "authorization": "Bearer null"})

    def key(self, device: str, pem: str, algorithm: str, token: str, product: str = "") -> Request:
        more = f"&product_id={product}" if product else ""
        body = (
            f"deviceID={device}&publicKey={_escaped(pem)}&order=manual_{AT_MS}&filename=cli&algorithm={algorithm}{more}"
        )
        return Request("POST", f"/v1/provisioning/{device}", body, {**_CLI_HEADERS, "authorization": f"Bearer {token}"})

    def logout(self, token: str) -> Request:
        agent = "particle-api-js/11.1.7 (https://github.com/particle-iot/particle-api-js)"
        headers = {**_API_JS_HEADERS, "user-agent": agent, "authorization": f"Bearer {token}"}
        return Request("DELETE", "/v1/access_tokens/current", "", headers)


@dataclass(frozen=True, slots=True)
class ApiJs:
    """particle-api-js 12.0.3, which particle-cli uses for everything from 3.49 on."""

    name: str = "particle-api-js"

    def password(self, user: str, password: str) -> Request:
        body = f"username={_escaped(user)}&password={_escaped(password)}&grant_type=password&client_id=particle-api&client_secret=particle-api&expires_in=7776000"
        return Request("POST", "/oauth/token", body, {**_API_JS_HEADERS, "content-type": _FORM})

    def code(self, mfa_token: str, otp: str) -> Request:
        grant = _escaped("urn:custom:mfa-otp")
        body = f"grant_type={grant}&mfa_token={mfa_token}&otp={otp}&client_id=particle-api&client_secret=particle-api"
        return Request("POST", "/oauth/token", body, {**_API_JS_HEADERS, "content-type": _FORM})

    def client(self, client_id: str, secret: str) -> Request:
        body = f"grant_type=client_credentials&client_id={_escaped(client_id)}&client_secret={_escaped(secret)}"
        return Request("POST", "/oauth/token", body, {**_API_JS_HEADERS, "content-type": _FORM})

    def key(self, device: str, pem: str, algorithm: str, token: str, product: str = "") -> Request:
        assert not product, "this client has no way to send one"
        lines = pem.replace("\n", "\\n")
        body = f'{{"deviceID":"{device}","publicKey":"{lines}","filename":"particle-api","order":"manual_{AT_MS}","algorithm":"{algorithm}"}}'
        headers = {**_API_JS_HEADERS, "content-type": "application/json", "authorization": f"Bearer {token}"}
        return Request("POST", f"/v1/provisioning/{device}", body, headers)

    def logout(self, token: str) -> Request:
        return Request(
            "DELETE", "/v1/access_tokens/current", "", {**_API_JS_HEADERS, "authorization": f"Bearer {token}"}
        )
