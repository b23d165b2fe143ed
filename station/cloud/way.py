"""The way to the registry, looked at before a shift: whether a proxy lets this station through, and whose TLS answers.

Speaks CONNECT and TLS by itself, since the HTTP client tells neither a proxy's refusal nor a certificate that it
refused. Asks the registry nothing, and trusts nothing that it sees here.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from cryptography import x509

from station.cloud.trouble import cause
from trust.printable import printable

_HTTPS = 443
_SHOWN = 120
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r\n")
_THROUGH, _SIGN_IN, _FORBIDDEN = range(200, 300), 407, 403
_Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WayError(Exception):
    """There is no way; the text says where it ends and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP CONNECT proxy of the settings. Its password is shown nowhere."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = ""

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Of `http://[USER:PASSWORD@]HOST:PORT`, which the settings have checked."""
        parts = urlsplit(url)
        port = parts.port or (_HTTPS if parts.scheme == "https" else 80)
        user = None if parts.username is None else unquote(parts.username)
        password = unquote(parts.password or "")
        return cls(scheme=parts.scheme, host=parts.hostname or "", port=port, user=user, password=password)

    def __repr__(self) -> str:
        return f"Proxy({self})"

    def __str__(self) -> str:
        """As people are shown it."""
        who = "" if self.user is None else f"{printable(self.user, _SHOWN)}:***@"
        return f"{self.scheme}://{who}{self.host}:{self.port}"

    def request(self, host: str, port: int) -> bytes:
        """What it is asked (RFC 9110 §9.3.6)."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.user is not None:
            words = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            head.append(f"Proxy-Authorization: Basic {words}")
        return ("\r\n".join(head) + "\r\n\r\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where the registry is and how to come there. `timeout_s` bounds each look as a whole."""

    host: str
    port: int
    proxy: Proxy | None
    timeout_s: float

    @classmethod
    def to(cls, url: str, proxy: str, timeout_s: float) -> Way:
        """To the trust root's registry_url, by the settings' proxy if it is not empty."""
        parts = urlsplit(url)
        found = Proxy.parse(proxy) if proxy else None
        return cls(host=parts.hostname or "", port=parts.port or _HTTPS, proxy=found, timeout_s=timeout_s)

    async def let_through(self) -> str:
        """What the proxy says; WayError if it keeps this station from the registry."""
        if self.proxy is None:
            return "none"
        async with self._in_time(), self._line():
            return f"{self.proxy} lets this station through to {self.host}:{self.port}"

    async def shown_instead(self, root_der: bytes) -> str | None:
        """Who answers with another certificate than the trust root's, in a clause; None if nobody does."""
        try:
            async with self._in_time(), self._line() as (_, writer):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent, or believed
                await writer.start_tls(context, server_hostname=self.host)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        except (WayError, OSError):
            return None
        return None if shown is None else _whose(shown, root_der)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.timeout_s):
                yield
        except TimeoutError as error:
            where = f"{self.host}:{self.port}" if self.proxy is None else f"the proxy {self.proxy}"
            raise WayError(f"{where} does not answer within {self.timeout_s:g} s. Look at the network.") from error

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[_Line]:
        """A connection to the registry's address, through the proxy if there is one."""
        line = await (self._to_proxy(self.proxy) if self.proxy else asyncio.open_connection(self.host, self.port))
        try:
            if self.proxy is not None:
                await self._connect(self.proxy, line)
            yield line
        finally:
            line[1].close()

    async def _to_proxy(self, proxy: Proxy) -> _Line:
        context = ssl.create_default_context() if proxy.scheme == "https" else None
        try:
            return await asyncio.open_connection(proxy.host, proxy.port, ssl=context)
        except OSError as error:
            text = f"no connection to the proxy {proxy}: {cause(error)}. Correct registry.proxy, or start the proxy."
            raise WayError(text) from error

    async def _connect(self, proxy: Proxy, line: _Line) -> None:
        reader, writer = line
        try:
            writer.write(proxy.request(self.host, self.port))
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            head = getattr(error, "partial", b"")
        found = _STATUS.match(head)
        if found is None:
            raise WayError(f"{proxy} is no HTTP proxy: it does not answer as one. Correct registry.proxy.")
        if int(found[1]) not in _THROUGH:
            said = printable(f"{found[1].decode()} {(found[2] or b'').decode(errors='replace')}".strip(), _SHOWN)
            raise WayError(f"the proxy {proxy} {self._refusal(int(found[1]), said, proxy)}")

    def _refusal(self, status: int, said: str, proxy: Proxy) -> str:
        there = f"{self.host}:{self.port}"
        if status == _SIGN_IN and proxy.user is None:
            return (
                f"wants a sign-in ({said}). Have it let this station through to {there} without one, or write "
                "registry.proxy as http://USER:PASSWORD@HOST:PORT, in a file that only the station's user reads."
            )
        if status == _SIGN_IN:
            return f"does not take the user and password of registry.proxy ({said}). Correct them."
        if status == _FORBIDDEN:
            return f"forbids connections to {there} ({said}). Have its administrators allow this one address."
        return f"cannot come through to {there} ({said}). Have its administrators look why."


def _whose(shown: bytes, root_der: bytes) -> str | None:
    """None for the trust root's own certificate or one that it issued."""
    if shown == root_der:
        return None
    try:
        seen, root = x509.load_der_x509_certificate(shown), x509.load_der_x509_certificate(root_der)
    except ValueError:
        return "what answers shows a certificate that cannot be read"
    if seen.issuer == root.subject:
        return None  # by name at least: why it does not verify is said by whoever refused it
    subject, issuer = (printable(each.rfc4514_string() or "nobody", _SHOWN) for each in (seen.subject, seen.issuer))
    return f"what answers shows a certificate of {subject!r}, issued by {issuer!r}"
