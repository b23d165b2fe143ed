"""Particle's own cloud, and whoever speaks as it does: signing in, proposing a device's key, reading back what may be.

It gives no receipt and knows no completion, so it is no `station.cloud.Cloud` and no unit passes by it
(docs/decisions). Never believes an answer because it says 200: HTML, `{"ok":false}` and other words count as no answer.
Never follows a redirect, and never writes down a token or a password.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx2
import msgspec

from station.cloud.trouble import refused_certificate, trouble
from station.cloud.way import Proxy
from trust.identity import DeviceId
from trust.keys import KeyType, PublicKey
from trust.printable import printable

PARTICLE: Final = "https://api.particle.io"
_ALGORITHMS: Final = {KeyType.RSA_2048: "rsa", KeyType.EC_P256: "ecc"}
_CLIENT: Final = {"client_id": "particle-api", "client_secret": "particle-api"}  # of its own tools: known to everybody
_ASKED_S: Final = 3600  # nobody needs a token of ours for longer
_MAX_ANSWER_BYTES: Final = 64 * 1024
_EXCERPT: Final = 200  # characters of foreign text that are shown
_GOOD, _NO_SUCH, _REFUSALS, _FAILURES = range(200, 300), frozenset({404, 405}), 400, 500
_TOO_MANY, _TIMED_OUT = 429, 408
_SHUT: Final = frozenset({"not_found", "unsupported_grant_type"})
State = Literal["proposed", "pinned", "taken"]


class ParticleUnreachableError(Exception):
    """No answer, or none of that API. After `propose` the outcome is unknown."""


class ParticleRefusedError(Exception):
    """It said no; nothing was kept there. `error` is its word for it."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, in memory only."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecondFactorWanted:
    """The password holds; the code goes with this."""

    mfa_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is sent beside the key. `product` is theirs, empty for none."""

    device: DeviceId
    key: PublicKey
    product: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What is shown of a device afterwards: fingerprints and their states; `shown` False where keys are not told."""

    shown: bool
    keys: tuple[tuple[str, str], ...] = ()

    def state_of(self, key: PublicKey) -> str | None:
        """What is said of this key; None if nothing is."""
        return dict(self.keys).get(key.fingerprint)


class _Keys(msgspec.Struct, frozen=True):
    class Key(msgspec.Struct, frozen=True):
        fingerprint: str
        state: str

    id: str
    keys: tuple[Key, ...]


class ParticleCloud:
    """The calls of Particle's API that bear on a device's key. `timeout_s` bounds each, connecting included.

    `tls_root` PEM: whose certificate is trusted; None for the system's. Raises ParticleUnreachableError or
    ParticleRefusedError only.
    """

    def __init__(
        self, url: str = PARTICLE, *, tls_root: str | None = None, proxy: str | None = None, timeout_s: float = 10.0
    ) -> None:
        if not url.startswith("https://"):
            raise ValueError(f"address {url!r}: only https:// is taken")
        self.url = url.rstrip("/")
        self._own_root = tls_root is not None
        self._timeout_s = timeout_s
        self._proxy = str(Proxy.parse(proxy)) if proxy else ""
        context = ssl.create_default_context() if tls_root is None else _only(tls_root)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        self._client = httpx2.AsyncClient(verify=context, proxy=proxy, trust_env=False, timeout=None, headers=headers)

    async def log_in(self, user: str, password: str) -> Token | SecondFactorWanted:
        """A token, or what the one-time code goes with."""
        form = {"grant_type": "password", "username": user, "password": password, "expires_in": str(_ASKED_S)}
        try:
            return _token(await self._post_form("/oauth/token", {**form, **_CLIENT}))
        except _MfaRequiredError as error:
            return SecondFactorWanted(error.mfa_token)

    async def second_factor(self, wanted: SecondFactorWanted, code: str) -> Token:
        """The token, for the one-time code."""
        form = {"grant_type": "urn:custom:mfa-otp", "mfa_token": wanted.mfa_token, "otp": code}
        return _token(await self._post_form("/oauth/token", {**form, **_CLIENT}))

    async def client_token(self, client_id: str, secret: str) -> Token:
        """A program's token."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return _token(await self._post_form("/oauth/token", form))

    async def propose(self, proposal: Proposal, token: Token) -> State:
        """Send the key: `taken` where they do not say what they do with it, as Particle's cloud does not."""
        form = {
            "deviceID": str(proposal.device), "publicKey": proposal.key.to_pem(),
            "order": f"manual_{time_ns() // 1_000_000}", "filename": "keystation",
            "algorithm": _ALGORITHMS[proposal.key.key_type],
            **({"product_id": proposal.product} if proposal.product else {}),
        }  # fmt: skip
        path = f"/v1/provisioning/{proposal.device}"
        said = await self._post_form(path, form, token)
        if said.get("ok") is not True and said.get("id") != str(proposal.device):
            raise self._no_answer("POST", path, 200, str(said))
        if said.get("id", str(proposal.device)) != str(proposal.device):
            raise self._no_answer("POST", path, 200, "it is about another device")
        state = said.get("state")
        if state in {"proposed", "pinned"} and said.get("fingerprint") != proposal.key.fingerprint:
            raise self._no_answer("POST", path, 200, "it is about another key")
        return state if state in {"proposed", "pinned"} else "taken"

    async def held(self, device: DeviceId, token: Token) -> Held:
        """What is told of the device's keys. Particle's cloud tells nothing; a registry with such a door does."""
        path = f"/v1/provisioning/{device}"
        try:
            said = await self._ask("GET", path, token=token)
            keys = msgspec.convert(said, _Keys)
        except ParticleRefusedError as error:
            if error.status in _NO_SUCH:
                return Held(shown=False)
            raise
        except msgspec.ValidationError:
            return Held(shown=False)
        if keys.id != str(device):
            raise self._no_answer("GET", path, 200, "it is about another device")
        return Held(shown=True, keys=tuple((each.fingerprint, printable(each.state, 20)) for each in keys.keys))

    async def log_out(self, token: Token) -> None:
        """The token is good for nothing any more."""
        await self._ask("DELETE", "/v1/access_tokens/current", token=token)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post_form(self, path: str, form: dict[str, str], token: Token | None = None) -> dict[str, Any]:
        return await self._ask("POST", path, urlencode(form).encode(), token)

    async def _ask(
        self, method: str, path: str, form: bytes | None = None, token: Token | None = None
    ) -> dict[str, Any]:
        """The answer's object, if it is one of this API and says yes."""
        headers = {} if token is None else {"authorization": f"Bearer {token.text}"}
        if form is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        status, kind, body = await self._send(method, path, form, headers)
        if status == 204 and not body:  # noqa: PLR2004 - No Content
            return {"ok": True}
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._no_answer(method, path, status, body.decode(errors="replace")) from None
        if kind != "application/json" or (status in _GOOD and (said.get("error") or said.get("ok") is False)):
            raise self._no_answer(method, path, status, body.decode(errors="replace"))
        if status in _GOOD:
            return said
        raise self._refusal(method, path, status, said)

    async def _send(
        self, method: str, path: str, form: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        asked, parts, size = f"{method} {self.url}{path}", [], 0
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, self.url + path, content=form, headers=headers) as response,
            ):
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > _MAX_ANSWER_BYTES:
                        raise self._no_answer(method, path, response.status_code, "it is too long")
                    parts.append(part)
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                return response.status_code, kind, b"".join(parts)
        except TimeoutError as error:
            raise ParticleUnreachableError(f"{asked}: no answer within {self._timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            why = refused_certificate(error)
            told = trouble(self.url, asked, error, self._proxy) if why is None else self._not_trusted(why)
            raise ParticleUnreachableError(told) from error

    def _not_trusted(self, why: str) -> str:
        """Particle's certificate is one that every system trusts; a registry has one of its own."""
        begun = f"no connection to {self.url}: its TLS certificate does not verify"
        if self._own_root:
            return f"{begun} under that of --tls-root ({why}): give the one that this cloud shows, or its issuer's"
        return f"{begun} under those that this system trusts ({why}): a registry's own goes with --tls-root tls.crt"

    def _refusal(self, method: str, path: str, status: int, said: dict[str, Any]) -> Exception:
        error, mfa_token = said.get("error"), said.get("mfa_token")
        if not isinstance(error, str) or not error:
            return self._no_answer(method, path, status, msgspec.json.encode(said).decode())
        more = said.get("error_description") or said.get("info") or ""
        text = printable(f"{error}: {more}" if isinstance(more, str) and more else error, _EXCERPT)
        if error in _SHUT:
            text = (
                f"{text}. If this is a registry, its door is shut: particle_door = true in its registry.toml opens it"
            )
        if not _REFUSALS <= status < _FAILURES or status in {_TOO_MANY, _TIMED_OUT}:  # it was not even looked at
            return ParticleUnreachableError(f"{method} {self.url}{path}: {status} {text}")
        if error == "mfa_required" and isinstance(mfa_token, str):
            return _MfaRequiredError(status, text, mfa_token)
        return ParticleRefusedError(status, printable(error, _EXCERPT), text)

    def _no_answer(self, method: str, path: str, status: int, seen: str) -> ParticleUnreachableError:
        shown = printable(seen, _EXCERPT)
        return ParticleUnreachableError(f"{method} {self.url}{path}: {status}, not an answer of this API: {shown!r}")


class _MfaRequiredError(ParticleRefusedError):
    """A one-time code is wanted: what signing in asks for next, and a refusal like any other everywhere else."""

    def __init__(self, status: int, message: str, mfa_token: str) -> None:
        super().__init__(status, "mfa_required", message)
        self.mfa_token = mfa_token


def _only(tls_root: str) -> ssl.SSLContext:
    """Trusts this certificate alone; ValueError. By an empty one `create_default_context` trusts the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    try:
        context.load_verify_locations(cadata=tls_root)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the TLS root holds no PEM certificate ({error})") from error
    return context


def _token(said: dict[str, Any]) -> Token:
    text = said.get("access_token")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text.strip():
        raise ParticleUnreachableError("POST /oauth/token: 200, and no access token in it")
    return Token(text)
