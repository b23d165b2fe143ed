"""Connections that come through a load balancer of layer 4: whose they are is said in a header before TLS.

Believed from the balancers' own addresses alone, and wanted from there: what comes without a proper one is dropped.
From elsewhere a header is no TLS handshake, and fails as one. Never looks at what is asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from registry import connection as bounded
from registry.connection import BoundedConnection
from registry.proxy_header import HeaderError, ProxyHeader, Source

_log = logging.getLogger(__name__)
_LARGEST = 4096  # more than any header wants at a time
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Balancers:
    """The networks whose headers are believed; without any, nobody's is looked for."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Addresses and networks as a person writes them; ValueError."""
        return cls(tuple(ipaddress.ip_network(each) for each in texts))

    def __contains__(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in each for each in self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What connections become once it is known whose they are. `at_work`: handshakes under way."""

    balancers: Balancers
    context: ssl.SSLContext
    connection: Callable[[], BoundedConnection]
    at_work: set[asyncio.Task[None]]

    def knock(self) -> Header:
        """For a connection that was just accepted."""
        return Header(self)


class Header(asyncio.BufferedProtocol):
    """The first bytes of a connection, taken in one header's worth at a time: TLS begins right behind."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._header = ProxyHeader()
        self._buffer = bytearray(_LARGEST)
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From a balancer a header is waited for; TLS begins at once for anybody else."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if not peer:
            transport.abort()
        elif peer[0] in self._door.balancers:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(bounded.HANDSHAKE_TIMEOUT_S, self._drop, HeaderError("it took too long"))
        else:
            self._begin_tls(transport, None)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """No more room than the header may still want."""
        return memoryview(self._buffer)[: self._header.wants]

    def buffer_updated(self, nbytes: int) -> None:
        """Some of the header."""
        try:
            self._header.feed(bytes(self._buffer[:nbytes]))
        except HeaderError as error:
            self._drop(error)
            return
        if self._header.wants == 0 and self._transport is not None:
            self._begin_tls(self._transport, self._header.source)

    def eof_received(self) -> None:
        """It ended before it began."""
        self._drop(HeaderError("it ended in the middle"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        """Nothing is waited for any more."""
        self._stop()

    def _begin_tls(self, transport: asyncio.Transport, source: Source | None) -> None:
        self._stop()
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(_secured(self._door, transport, source))
        self._door.at_work.add(task)
        task.add_done_callback(self._door.at_work.discard)

    def _drop(self, why: HeaderError) -> None:
        self._stop()
        _log.info("a balancer's connection was dropped: it has no proper PROXY header", exc_info=why)
        if self._transport is not None:
            self._transport.abort()

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()


class _Early(asyncio.Protocol):
    """What comes with the end of the handshake, before the connection knows that it is there."""

    def __init__(self) -> None:
        self.data = b""
        self.over = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.over = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        self.over = True


async def _secured(door: Door, transport: asyncio.Transport, source: Source | None) -> None:
    early, loop = _Early(), asyncio.get_running_loop()
    try:
        secure = await loop.start_tls(
            transport, early, door.context, server_side=True, ssl_handshake_timeout=bounded.HANDSHAKE_TIMEOUT_S
        )
    except OSError:  # TLS that is none, a client that has gone, or took too long
        return
    if secure is None or early.over:
        transport.abort()
        return
    made = door.connection()
    secure.set_protocol(made)
    made.connection_made(secure)
    if source is not None:
        made.client = source
    if early.data:
        made.data_received(early.data)
