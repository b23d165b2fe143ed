"""The TCP port: which connections are taken, and what is counted of them. Each then is `tcp.connection`'s.

Who is turned away by a limit is told nothing and costs no nonce. On the event loop, and bounded: so many connections in
all, so many of an address, so many handshakes that come to nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from hsm.signer import HandshakeKeys
from registry.device_service.field.failures import Failures
from registry.device_service.field.known import FieldPins, KnownHere
from registry.device_service.field.sessions import Entry, OpenSessions
from registry.device_service.tcp.connection import Connection, Ended, Service, Times
from registry.device_service.tcp.handshake import Accepted
from registry.limits.rates import network
from registry.telemetry.devices import DeviceMetrics

_TCP: Final = "tcp"


@dataclass(slots=True, kw_only=True)
class TcpDoor:
    """Makes a protocol for each connection that is accepted. `open` connections, of them `sessions` that are proved."""

    keys: HandshakeKeys
    pins: FieldPins
    work: Executor
    failures: Failures
    metrics: DeviceMetrics
    most: int
    of_an_address: int
    times: Times = field(default_factory=Times)
    open: int = 0
    places: Counter[str] = field(default_factory=Counter)
    lines: set[asyncio.Transport] = field(default_factory=set)
    open_sessions: OpenSessions = field(init=False)

    def __post_init__(self) -> None:
        self.open_sessions = OpenSessions(self.pins, self.work)

    @property
    def sessions(self) -> int:
        """How many devices are in."""
        return len(self.open_sessions)

    def knock(self) -> asyncio.Protocol:
        """For a connection that was just accepted."""
        return _Visitor(self)

    def close(self) -> None:
        """Everybody loses their connection."""
        for each in tuple(self.lines):
            each.abort()

    def turned_away(self, host: str) -> str:
        """The limit that keeps a connection from this address out; empty if none does."""
        if self.open >= self.most:
            return "connections"
        if self.places[network(host)] >= self.of_an_address:
            return "connections of an address"
        return "" if self.failures.begins(host) else "failures of an address"


class _Visitor(asyncio.Protocol):
    """A connection before it is known whether it is taken; afterwards its transport is the real protocol's."""

    def __init__(self, door: TcpDoor) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it or drop it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listening socket makes no others
        peer = transport.get_extra_info("peername")
        host = peer[0] if peer else ""
        limit = self._door.turned_away(host)
        if limit:
            self._door.metrics.limited(_TCP, limit)
            transport.abort()
            return
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guest = Guest(self._door, host, transport)
        transport.set_protocol(guest.connection)
        guest.connection.connection_made(transport)


class Guest:
    """What is counted of one connection."""

    __slots__ = ("_door", "_entry", "_host", "_line", "_told", "connection")

    def __init__(self, door: TcpDoor, host: str, line: asyncio.Transport) -> None:
        self._door, self._host, self._line = door, host, line
        self._told = ""
        self._entry: Entry | None = None
        door.open += 1
        door.lines.add(line)
        door.places[network(host)] += 1
        pins = KnownHere(door.pins, door.failures, host, partial(door.metrics.limited, _TCP, "failures of a device"))
        service = Service(
            keys=door.keys, pins=pins, work=door.work, times=door.times, opened=self._opened, refused=self._refused,
            ended=self._ended,
        )  # fmt: skip
        self.connection = Connection(service)

    def _opened(self, accepted: Accepted) -> None:
        self._door.failures.proved(self._host, accepted.device_id)
        self._entry = self._door.open_sessions.came(accepted.device_id, accepted.spki, self._line.abort)
        self._tell("done")

    def _refused(self, reason: str) -> None:
        self._tell(reason)

    def _ended(self, why: Ended) -> None:
        door, place = self._door, network(self._host)
        door.open -= 1
        door.lines.discard(self._line)
        door.places[place] -= 1
        if not door.places[place]:
            del door.places[place]
        if self._entry is not None:
            door.open_sessions.left(self._entry)
        self._tell(why.value)

    def _tell(self, result: str) -> None:
        """How the handshake ended, once."""
        if not self._told:
            self._told = result
            self._door.metrics.handshake(_TCP, "field", result)
