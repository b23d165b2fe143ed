"""The registry over HTTPS. The one importer of `httpx2`; knows the API of docs/statements.md and nothing of the flow.

Trusts one TLS root, the trust root's, and no proxy but the one given. Never believes an answer because it says 200:
what is not exactly an answer of this API counts as no answer. Never follows a redirect.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

import httpx2
import msgspec

from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord, RegistryStatus, Sent
from station.cloud import batch as batches
from station.cloud.access import Access, Heard
from station.cloud.trouble import trouble
from station.cloud.way import Proxy
from trust.act import Act
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.printable import printable
from trust.statement import read

_MAX_ANSWER_BYTES = 512 * 1024
_MOST = MappingProxyType({batches.PATH: batches.MAX_ANSWER_BYTES})
_MESSAGE, _EXCERPT = 500, 120  # characters of foreign text that are shown
_KEPT_IDLE_S = 15.0  # less than the registry's own 30 s: it must not close a connection that is about to be used
_OK, _REFUSALS, _WHO_ASKS, _TOO_MANY, _SERVER_ERRORS = 200, 400, 401, 429, 500
_TRIES = 3
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvelopeError)  # all that decoding may raise


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    state: Literal["provisional", "active", "revoked", "scrapped"]
    statement: msgspec.Raw
    receipt: msgspec.Raw
    completion: msgspec.Raw
    completion_receipt: msgspec.Raw


class _Scrapped(msgspec.Struct, frozen=True, kw_only=True):
    revocations: tuple[msgspec.Raw, ...]
    next: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")] | None


class _Granted(msgspec.Struct, frozen=True, kw_only=True):
    lease: msgspec.Raw


class _Issued(msgspec.Struct, frozen=True, kw_only=True):
    roster: msgspec.Raw


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    root_sha256: str
    root_version: int
    trouble: str


class _Detail(msgspec.Struct, frozen=True, kw_only=True):
    code: Code
    message: str
    stored: msgspec.Raw


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: _Detail


class HttpCloud:
    """`station.cloud.Cloud` at a URL. `timeout_s` bounds a whole request, connecting included.

    Without `access` only what is open to anybody can be asked: `status`.
    """

    def __init__(
        self,
        url: str,
        tls_root_der: bytes,
        *,
        access: Access | None = None,
        timeout_s: float = 10.0,
        proxy: str | None = None,
    ) -> None:
        if not url.startswith("https://"):
            raise ValueError(f"registry address {url!r}: only https:// is taken")
        self._url = url.rstrip("/")
        self._access = access
        self._timeout_s = timeout_s
        self._proxy = str(Proxy.parse(proxy)) if proxy else ""
        self._client = httpx2.AsyncClient(
            verify=_tls(tls_root_der),
            proxy=proxy,
            trust_env=False,
            timeout=None,  # asyncio.timeout bounds the whole request; every dripped byte would renew this one
            limits=httpx2.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=_KEPT_IDLE_S),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        """PUT /v1/pins/{device}."""
        body = b'{"statement":%s,"order":%s}' % (statement.to_json(), order.to_json())
        return await self._held("PUT", f"/v1/pins/{device}", body)

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        """PUT /v1/pins/{device}/completion."""
        return await self._held("PUT", f"/v1/pins/{device}/completion", b'{"completion":%s}' % completion.to_json())

    async def history(self, device: DeviceId) -> PinRecord | None:
        """GET /v1/pins/{device}; None for 404 `not-pinned`."""
        try:
            return await self._held("GET", f"/v1/pins/{device}")
        except CloudRefusedError as error:
            if error.code is Code.NOT_PINNED:
                return None
            raise

    async def lease(self, request: Envelope) -> Envelope:
        """POST /v1/leases."""
        asked = f"POST {self._url}/v1/leases"
        status, answer = await self._ask(asked, "POST", "/v1/leases", b'{"request":%s}' % request.to_json())
        if status != _OK:
            raise _refusal(asked, status, answer)
        try:
            return Envelope.from_json(bytes(msgspec.json.decode(answer, type=_Granted).lease))
        except _UNREADABLE as error:
            text = f"{asked}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
            raise CloudUnreachableError(text) from error

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        """GET /v1/orders/{order_sha256}/revocations/{page}."""
        path = f"/v1/orders/{order_sha256}/revocations/{page}"
        asked = f"GET {self._url}{path}"
        status, answer = await self._ask(asked, "GET", path, None)
        if status != _OK:
            raise _refusal(asked, status, answer)
        try:
            told = msgspec.json.decode(answer, type=_Scrapped)
            return tuple(Envelope.from_json(bytes(each)) for each in told.revocations), told.next
        except _UNREADABLE as error:
            text = f"{asked}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
            raise CloudUnreachableError(text) from error

    async def batch(self, sent: Sequence[Sent]) -> list[batches.Answer]:
        """POST /v1/pins:batch."""
        asked = f"POST {self._url}{batches.PATH}"
        status, answer = await self._ask(asked, "POST", batches.PATH, batches.body(sent))
        if status != _OK:
            raise _refusal(asked, status, answer)
        return batches.results(asked, answer, sent, _refusal)

    async def roster(self) -> Envelope:
        """GET /v1/roster: who may sign in at stations. Verify it."""
        asked = f"GET {self._url}/v1/roster"
        status, answer = await self._ask(asked, "GET", "/v1/roster", None)
        if status != _OK:
            raise _refusal(asked, status, answer)
        try:
            return Envelope.from_json(bytes(msgspec.json.decode(answer, type=_Issued).roster))
        except _UNREADABLE as error:
            text = f"{asked}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
            raise CloudUnreachableError(text) from error

    async def raise_limit(self, act: Envelope) -> None:
        """POST /v1/orders/{order_sha256}/raises, for the order that the act names."""
        path = f"/v1/orders/{read(act, Act).order_sha256}/raises"
        asked = f"POST {self._url}{path}"
        status, answer = await self._ask(asked, "POST", path, b'{"act":%s}' % act.to_json())
        if status != _OK:
            raise _refusal(asked, status, answer)

    async def status(self) -> RegistryStatus:
        """GET /v1/status: what the registry says of itself."""
        asked = f"GET {self._url}/v1/status"
        heard = await self._send(asked, "GET", "/v1/status", None, {})
        status, answer = heard.status, heard.body
        if status != _OK:
            raise _refusal(asked, status, answer)
        try:
            said = msgspec.json.decode(answer, type=_Status)
        except _UNREADABLE as error:
            text = f"{asked}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
            raise CloudUnreachableError(text) from error
        return RegistryStatus(
            root_sha256=printable(said.root_sha256, _EXCERPT),
            root_version=said.root_version,
            trouble=printable(said.trouble, _MESSAGE),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._access is not None:
            await self._access.close()
        await self._client.aclose()

    async def _held(self, method: str, path: str, body: bytes | None = None) -> PinRecord:
        asked = f"{method} {self._url}{path}"
        status, answer = await self._ask(asked, method, path, body)
        if status == _OK:
            try:
                return _record(answer)
            except _UNREADABLE as error:
                raise CloudUnreachableError(
                    f"{asked}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
                ) from error
        raise _refusal(asked, status, answer)

    async def _ask(self, asked: str, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """The registry's answer, asked again with fresh proof of who we are where it wants that: it did nothing yet."""
        headers = {} if body is None else {"content-type": "application/json"}
        answer = await self._as_ourselves(asked, method, path, body, headers)
        for _ in range(_TRIES - 1):
            if self._access is None or answer.status != _WHO_ASKS or not self._access.refused(_code(answer)):
                break
            answer = await self._as_ourselves(asked, method, path, body, headers)
        return answer.status, answer.body

    async def _as_ourselves(
        self, asked: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Heard:
        shown = {} if self._access is None else await self._access.headers(method, path, self._token)
        answer = await self._send(asked, method, path, body, {**headers, **shown})
        if self._access is not None:
            self._access.heard(answer.nonce)
        return answer

    async def _token(self, path: str, form: bytes, headers: Mapping[str, str]) -> Heard:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._send(f"POST {self._url}{path}", "POST", path, form, {**headers, **kind})
        if answer.status >= _SERVER_ERRORS:
            raise CloudUnreachableError(f"POST {self._url}{path}: {answer.status}: no access token")
        return answer

    async def _send(self, asked: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Heard:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, self._url + path, content=body, headers=headers) as response,
            ):
                nonce = response.headers.get("dpop-nonce")
                return Heard(
                    response.status_code, await _read(response, asked, _MOST.get(path, _MAX_ANSWER_BYTES)), nonce
                )
        except TimeoutError as error:
            raise CloudUnreachableError(f"{asked}: no answer within {self._timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise CloudUnreachableError(trouble(self._url, asked, error, self._proxy)) from error


def _tls(root_der: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=root_der)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the trust root's tls_root is not a DER certificate: {error}") from error
    return context


async def _read(response: httpx2.Response, asked: str, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most:
            raise CloudUnreachableError(f"{asked}: {response.status_code} with more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _record(answer: bytes | msgspec.Raw) -> PinRecord:
    held = msgspec.json.decode(answer, type=_Held)
    return PinRecord(
        state=held.state,
        statement=Envelope.from_json(bytes(held.statement)),
        receipt=Envelope.from_json(bytes(held.receipt)),
        completion=_optional(held.completion),
        completion_receipt=_optional(held.completion_receipt),
    )


def _optional(raw: msgspec.Raw) -> Envelope | None:
    return None if bytes(raw) == b"null" else Envelope.from_json(bytes(raw))


def _code(answer: Heard) -> Code:
    """The code of a refusal; one that nothing is done about if it cannot be read."""
    try:
        return msgspec.json.decode(answer.body, type=_Refusal).error.code
    except _UNREADABLE:
        return Code.INTERNAL


def _refusal(asked: str, status: int, answer: bytes) -> CloudRefusedError | CloudUnreachableError:
    """What a status other than 200 means."""
    try:
        error = msgspec.json.decode(answer, type=_Refusal).error
        stored = None if bytes(error.stored) == b"null" else _record(error.stored)
    except _UNREADABLE:
        seen = printable(answer.decode(errors="replace"), _EXCERPT)
        return CloudUnreachableError(f"{asked}: {status}, not an answer of the registry: {seen!r}")
    message = printable(error.message, _MESSAGE)
    if not _REFUSALS <= status < _SERVER_ERRORS or status == _TOO_MANY:  # it was not even looked at
        return CloudUnreachableError(f"{asked}: {status} {error.code.value}: {message}")
    return CloudRefusedError(error.code, message, stored)
