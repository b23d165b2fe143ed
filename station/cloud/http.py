"""The registry over HTTPS. The one importer of `httpx2`; knows the API of docs/statements.md and nothing of the flow.

Trusts one TLS root, the trust root's, and no proxy but the one given. What answers mean says `station.cloud.answers`.
Never follows a redirect.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import httpx2

from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord, RegistryStatus, Sent, answers
from station.cloud import batch as batches
from station.cloud.access import Heard, Shows
from station.cloud.devices import Asks
from station.cloud.trouble import trouble
from station.cloud.way import Proxy
from trust.act import Act
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.statement import read

T = TypeVar("T")
_MAX_ANSWER_BYTES = 512 * 1024
_MOST = MappingProxyType({batches.PATH: batches.MAX_ANSWER_BYTES})
_KEPT_IDLE_S = 15.0  # less than the registry's own 30 s: it must not close a connection that is about to be used
_WHO_ASKS, _TOO_MANY, _SERVER_ERRORS = 401, 429, 500
_TRIES = 3
_SERVICE_WAITS_S = 6.0  # in a conversation: the device service may wait 5 s for what it works at
_AT_ONCE = 8  # requests that belong to no conversation
_DIGITS = 6  # of a Retry-After: whoever asks for longer than 11 days is not understood


class HttpCloud:
    """`station.cloud.Cloud` at a URL. `timeout_s` bounds a whole request, connecting included.

    Without `access` only what is open to anybody can be asked: `status`.
    """

    def __init__(
        self,
        url: str,
        tls_root_der: bytes,
        *,
        access: Shows | None = None,
        timeout_s: float = 10.0,
        proxy: str | None = None,
    ) -> None:
        if not url.startswith("https://"):
            raise ValueError(f"registry address {url!r}: only https:// is taken")
        self._url = url.rstrip("/")
        self._access = access
        self._timeout_s = timeout_s
        self._proxy = str(Proxy.parse(proxy)) if proxy else ""
        self._connected = partial(
            httpx2.AsyncClient,
            verify=_tls(tls_root_der),
            proxy=proxy,
            trust_env=False,
            timeout=None,  # asyncio.timeout bounds the whole request; every dripped byte would renew this one
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_IDLE_S),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )
        self._made: list[httpx2.AsyncClient] = []
        self._free: list[httpx2.AsyncClient] = []
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        """PUT /v1/pins/{device}."""
        body = b'{"statement":%s,"order":%s}' % (statement.to_json(), order.to_json())
        return await self._asked("PUT", f"/v1/pins/{device}", body, answers.record)

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        """PUT /v1/pins/{device}/completion."""
        body = b'{"completion":%s}' % completion.to_json()
        return await self._asked("PUT", f"/v1/pins/{device}/completion", body, answers.record)

    async def history(self, device: DeviceId) -> PinRecord | None:
        """GET /v1/pins/{device}; None for 404 `not-pinned`."""
        try:
            return await self._asked("GET", f"/v1/pins/{device}", None, answers.record)
        except CloudRefusedError as error:
            if error.code is Code.NOT_PINNED:
                return None
            raise

    async def lease(self, request: Envelope) -> Envelope:
        """POST /v1/leases."""
        return await self._asked("POST", "/v1/leases", b'{"request":%s}' % request.to_json(), answers.lease)

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        """GET /v1/orders/{order_sha256}/revocations/{page}."""
        return await self._asked("GET", f"/v1/orders/{order_sha256}/revocations/{page}", None, answers.scrapped)

    async def batch(self, sent: Sequence[Sent]) -> list[batches.Answer]:
        """POST /v1/pins:batch."""
        asked = f"POST {self._url}{batches.PATH}"
        body = batches.body(sent)
        return await self._asked(
            "POST", batches.PATH, body, lambda answer: batches.results(asked, answer, sent, answers.refusal)
        )

    async def roster(self) -> Envelope:
        """GET /v1/roster: who may sign in at stations. Verify it."""
        return await self._asked("GET", "/v1/roster", None, answers.roster)

    async def raise_limit(self, act: Envelope) -> None:
        """POST /v1/orders/{order_sha256}/raises, for the order that the act names."""
        path = f"/v1/orders/{read(act, Act).order_sha256}/raises"
        await self._asked("POST", path, b'{"act":%s}' % act.to_json(), lambda _: None)

    async def status(self) -> RegistryStatus:
        """GET /v1/status: what the registry says of itself."""
        heard = await self._send("GET", "/v1/status", None, {})
        return answers.understood(self._named("GET", "/v1/status"), heard.status, heard.body, answers.status_of)

    async def close(self) -> None:
        """Close the connections."""
        if self._access is not None:
            await self._access.close()
        for each in self._made:
            await each.aclose()

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer to any request of the API, if it is 200 or 201; CloudRefusedError, CloudUnreachableError."""
        return await self._asked(method, path, body, bytes)

    @contextmanager
    def conversation(self) -> Iterator[Asks]:
        """A connection for requests that must all come to the same process of the registry, whatever balances them.

        It waits for no other request's turn, and none waits for it.
        """
        with self._connection() as connection:
            yield _Conversation(partial(self._asked, understand=bytes, by=connection))

    @contextmanager
    def _connection(self) -> Iterator[httpx2.AsyncClient]:
        """One for its user alone, kept open for the next one: the last that was used, as it is open most likely."""
        if not self._free:
            self._made.append(self._connected())
            self._free.append(self._made[-1])
        client = self._free.pop()
        try:
            yield client
        finally:
            self._free.append(client)

    async def _asked(
        self, method: str, path: str, body: bytes | None, understand: Callable[[bytes], T],
        by: httpx2.AsyncClient | None = None,
    ) -> T:  # fmt: skip
        """The registry's answer, asked again with fresh proof of who we are where it wants that: it did nothing yet."""
        headers = {} if body is None else {"content-type": "application/json"}
        answer = await self._as_ourselves(method, path, body, headers, by)
        for _ in range(_TRIES - 1):
            if self._access is None or answer.status != _WHO_ASKS:
                break
            if not self._access.refused(answers.code_of(answer.body)):
                break
            answer = await self._as_ourselves(method, path, body, headers, by)
        asked = self._named(method, path)
        return answers.understood(asked, answer.status, answer.body, understand, after_s=answer.after_s)

    async def _as_ourselves(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], by: httpx2.AsyncClient | None
    ) -> Heard:
        shown = {} if self._access is None else await self._access.headers(method, path, self._token)
        answer = await self._send(method, path, body, {**headers, **shown}, by)
        if self._access is not None:
            self._access.heard(answer.nonce)
        return answer

    async def _token(self, path: str, form: bytes, headers: Mapping[str, str]) -> Heard:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._send("POST", path, form, {**headers, **kind})
        if answer.status >= _SERVER_ERRORS or answer.status == _TOO_MANY:  # it was not even looked at
            said = answers.refusal(f"no access token: {self._named('POST', path)}", answer.status, answer.body)
            raise CloudUnreachableError(str(said), after_s=answer.after_s)
        return answer

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str],
        by: httpx2.AsyncClient | None = None,
    ) -> Heard:  # fmt: skip
        timeout_s = self._timeout_s + (_SERVICE_WAITS_S if by is not None else 0)
        asked = self._named(method, path)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._one(by) as connection,
                connection.stream(method, self._url + path, content=body, headers=headers) as response,
            ):
                content = await _read(response, asked, _MOST.get(path, _MAX_ANSWER_BYTES))
                return Heard(response.status_code, content, response.headers.get("dpop-nonce"), _after_s(response))
        except TimeoutError as error:
            raise CloudUnreachableError(f"{asked}: no answer within {timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise CloudUnreachableError(trouble(self._url, asked, error, self._proxy)) from error

    def _named(self, method: str, path: str) -> str:
        return f"{method} {self._url}{path}"

    @asynccontextmanager
    async def _one(self, by: httpx2.AsyncClient | None) -> AsyncIterator[httpx2.AsyncClient]:
        """The conversation's connection; without one any, when it is this request's turn."""
        if by is not None:
            yield by
            return
        async with self._turns:
            with self._connection() as connection:
                yield connection


@dataclass(frozen=True, slots=True)
class _Conversation:
    """`Asks` by one connection."""

    ask: Callable[[str, str, bytes | None], Awaitable[bytes]]

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """As `HttpCloud.asked`."""
        return await self.ask(method, path, body)


def _tls(root_der: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=root_der)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the trust root's tls_root is not a DER certificate: {error}") from error
    return context


def _after_s(response: httpx2.Response) -> float:
    """Of a 429 its Retry-After in seconds; 0 of anything else: what was looked at, and failed, may fail by itself."""
    text = response.headers.get("retry-after", "") if response.status_code == _TOO_MANY else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0.0


async def _read(response: httpx2.Response, asked: str, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most:
            raise CloudUnreachableError(f"{asked}: {response.status_code} with more than {most} bytes")
        parts.append(part)
    return b"".join(parts)
