"""The public ports, opened as the settings name them, and closed again. Decides nothing about who comes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from registry.device_service.field.failures import Failures
from registry.device_service.field.half_open import HalfOpen
from registry.device_service.field.tcp_door import TcpDoor
from registry.device_service.field.udp_door import UdpDoor
from registry.device_service.parts import Parts
from registry.settings import FILE, LAST_PORT, SetupError
from registry.telemetry.devices import DeviceMetrics
from trust.printable import plainly

_BACKLOG: Final = 1_024
_OWN_FILES: Final = 512
_RECEIVE_BYTES: Final = 4 << 20
"""What the kernel keeps of datagrams that come faster than they are looked at, if it lets us have so much."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors there are, and the sockets that they were given."""

    tcp: TcpDoor | None
    udp: UdpDoor | None
    said: tuple[str, ...]


def bound(address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket at HOST:PORT, port 0 for a free one; SetupError for one that cannot be had."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), _port(port), type=kind, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(found[0], kind)
    except (OSError, ValueError) as error:
        raise SetupError(f"{address} in the table devices of {FILE} is no address: {plainly(error)}") from error
    try:
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        made.bind(found[4])
        made.setblocking(False)
    except OSError as error:
        made.close()
        text = f"cannot listen on {address}: {plainly(error)}: correct it in the table devices of {FILE}"
        raise SetupError(text) from error
    return made


@asynccontextmanager
async def opened(parts: Parts, work: Executor, metrics: DeviceMetrics) -> AsyncIterator[Doors]:
    """Devices are taken while the block runs; at its end each is told, or loses its connection."""
    config, failures, loop = parts.config, Failures(factor=parts.rate_factor), asyncio.get_running_loop()
    tcp: TcpDoor | None = None
    udp: UdpDoor | None = None
    said = []
    async with contextlib.AsyncExitStack() as open_ports:
        if config.tcp:
            tcp = TcpDoor(
                keys=parts.reporter.keys, pins=parts.pins, work=work, failures=failures, metrics=metrics,
                most=_allowed(config.tcp_connections), of_an_address=config.tcp_connections_of_an_address,
            )  # fmt: skip
            line = bound(config.tcp, socket.SOCK_STREAM)
            server = await loop.create_server(tcp.knock, sock=line, backlog=_BACKLOG)
            open_ports.callback(tcp.close)
            open_ports.callback(server.close)
            said.append(f"tcp {_told(line)}, for {tcp.most} connections")
        if config.udp:
            udp = UdpDoor(
                credentials=parts.credentials, repeated=parts.seen.repeated, pins=parts.pins, work=work,
                failures=failures, metrics=metrics, most=config.udp_sessions,
                handshakes=HalfOpen(config.udp_half_open, config.udp_half_open_of_an_address),
                proposals=parts.proposals,
            )  # fmt: skip
            port = bound(config.udp, socket.SOCK_DGRAM)
            transport, _ = await loop.create_datagram_endpoint(lambda: udp, sock=port)
            open_ports.callback(transport.close)
            open_ports.callback(udp.close)
            said.append(f"udp {_told(port)}")
        looks = [asyncio.create_task(each.open_sessions.look_every()) for each in (tcp, udp) if each is not None]
        try:
            yield Doors(tcp, udp, tuple(said))
        finally:
            for each in looks:
                each.cancel()
            await asyncio.gather(*looks, return_exceptions=True)


def _port(text: str) -> int:
    """ValueError for one above the last: the look-up would take another one for it."""
    number = int(text)
    if number > LAST_PORT:
        raise ValueError(f"the last port is {LAST_PORT}")
    return number


def _told(line: socket.socket) -> str:
    host, port = line.getsockname()[:2]
    return f"{host} port {port}"


def _allowed(connections: int) -> int:
    """How many there may be: each is an open file, and signer, database and relay want theirs, whoever comes here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = connections + _OWN_FILES
    wanted = min(hard, connections + _OWN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, min(connections, hard - _OWN_FILES))
