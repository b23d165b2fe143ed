"""The UDP port: one socket, many clients by their address, a cookie before anything is kept for one of them.

On the event loop, and bounded: so many sessions, so many handshakes at once, so many that come to nothing. Whoever says
nothing for too long is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from registry.device_service.field.failures import Failures
from registry.device_service.field.half_open import HalfOpen
from registry.device_service.field.known import FieldPins, KnownHere, Proposals
from registry.device_service.field.sessions import Entry, OpenSessions
from registry.device_service.field.udp_talk import Open, Opening
from registry.device_service.udp.gnutls.cookies import Cookies, is_hello
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.endpoint import LONGEST, Timing
from registry.device_service.udp.gnutls.library import Prestate
from registry.device_service.udp.session import Session
from registry.device_service.udp.transcript import Exchanged
from registry.telemetry.devices import DeviceMetrics

_log = logging.getLogger(__name__)
_UDP: Final = "udp"
_RANDOM: Final = slice(27, 59)
"""Of a ClientHello that is a datagram's first record: behind both headers and the version."""
_APPLICATION_DATA, _ALERT = 23, 21
_SHORTEST: Final = 14  # a record's header and a byte; less is a keep-alive, or nothing
Where = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpTimes:
    """Seconds: for a handshake, from it to the Hello, of silence, of a session, of a cookie key, between two looks.

    A session ends in the end, whoever it is.
    """

    handshake_s: float = 30.0
    hello_s: float = 30.0
    silence_s: float = 1_800.0
    longest_s: float = 86_400.0
    cookie_s: float = 60.0
    look_s: float = 5.0


@dataclass(slots=True, eq=False)
class _Client:
    """`random` and `hello` are of the newest handshake: which hello is said again, and which is the network's echo.

    `known` is what it asks for keys; `entry` that its device is in.
    """

    opening: Opening | None = None
    random: bytes = b""
    hello: bytes = b""
    known: KnownHere | None = None
    open: Open | None = None
    entry: Entry | None = None


@dataclass(kw_only=True, eq=False)
class UdpDoor(asyncio.DatagramProtocol):
    """One port's."""

    credentials: Credentials
    repeated: Callable[[Exchanged], str]
    pins: FieldPins
    work: Executor
    failures: Failures
    metrics: DeviceMetrics
    most: int
    handshakes: HalfOpen
    proposals: Proposals | None = None
    times: UdpTimes = field(default_factory=UdpTimes)
    now_s: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.open_sessions = OpenSessions(self.pins, self.work)
        self._cookies = Cookies(self.credentials.library)
        self._clients: dict[Where, _Client] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._clocks: list[asyncio.TimerHandle] = []
        self._full_line = False

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def half_open(self) -> int:
        """How many handshakes are under way."""
        return len(self.handshakes)

    @property
    def sessions(self) -> int:
        """How many devices are in."""
        return len(self.open_sessions)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is one in all but name
        self._again(self.times.cookie_s, self._cookies.turn)
        self._again(self.times.look_s, self._look)

    def connection_lost(self, _: Exception | None) -> None:
        """It is closed."""
        for each in self._clocks:
            each.cancel()
        self._transport = None

    def pause_writing(self) -> None:
        """More is said than the line takes: what is not sent is lost, as datagrams may be, and not kept."""
        self._full_line = True

    def resume_writing(self) -> None:
        """It takes more again."""
        self._full_line = False

    def error_received(self, _: Exception) -> None:
        """Somebody's port is closed: nothing that anybody need do."""

    def datagram_received(self, data: bytes, addr: Where) -> None:
        """One of anybody's."""
        if not _SHORTEST <= len(data) <= LONGEST:
            return
        client = self._clients.get(addr)
        if is_hello(data):
            self._hello(data, addr, client)
        elif client is not None:
            self._of_client(data, addr, client)

    def close(self) -> None:
        """Say so to every device, and forget them."""
        for addr, client in tuple(self._clients.items()):
            self._drop_opening(client)
            if client.open is not None:
                self._drop_open(addr, client)

    # ---- hellos

    def _hello(self, data: bytes, addr: Where, client: _Client | None) -> None:
        name = repr(addr).encode()
        state = self._cookies.verified(name, data)
        if state is None:
            question = self._cookies.question(name, data)
            if question is not None:
                self._send(addr, question)
            return
        if client is not None:
            if client.opening is not None and client.random == data[_RANDOM]:
                client.opening.feed(data)  # said again
                return
            if client.hello == hashlib.sha256(data).digest():
                return
            self._drop_opening(client)
        self._begin(data, addr, client, state)

    def _begin(self, data: bytes, addr: Where, client: _Client | None, state: Prestate) -> None:
        limit = self._full(addr, client)
        if limit:
            self.metrics.limited(_UDP, limit)
            if client is not None and client.open is None:
                del self._clients[addr]
            return
        client = client or self._clients.setdefault(addr, _Client())
        host = addr[0]
        limited = partial(self.metrics.limited, _UDP, "failures of a device")
        pins = KnownHere(self.pins, self.failures, host, limited, self.proposals)
        timing = Timing(total_ms=int(1_000 * self.times.handshake_s))
        client.random, client.hello, client.known = data[_RANDOM], hashlib.sha256(data).digest(), pins
        client.opening = Opening(
            partial(Session, self.credentials, pins, cookie=state, timing=timing, repeated=self.repeated), self.work,
            send=partial(self._send, addr), through=partial(self._through, addr, client),
            failed=partial(self._failed, addr, client),
        )  # fmt: skip
        self.handshakes.begun(client, host, partial(self._failed, addr, client, "crowded-out"))
        client.opening.feed(data)

    def _full(self, addr: Where, client: _Client | None) -> str:
        if client is None and len(self._clients) >= self.most:
            return "sessions"
        if not self.handshakes.room_for(addr[0]):
            return "handshakes"
        return "" if self.failures.begins(addr[0]) else "failures of an address"

    def _drop_opening(self, client: _Client) -> None:
        if client.opening is not None:
            client.opening.drop()
            client.opening = None
            self.handshakes.ended(client)

    def _failed(self, addr: Where, client: _Client, reason: str) -> None:
        self._drop_opening(client)
        self.metrics.handshake(_UDP, "field", reason)
        if client.open is None:
            self._clients.pop(addr, None)

    def _through(
        self, addr: Where, client: _Client, session: Session, messages: Sequence[bytes], later: Sequence[bytes]
    ) -> None:
        """The new session takes the old one's place, which the device has no keys of any more."""
        self._drop_opening(client)
        self._left(client)
        greeted = partial(
            self._greeted, addr, client, session, proving=client.known is not None and client.known.proving
        )
        client.open = Open(session, now_s=self.now_s(), send=partial(self._send, addr), on_hello=greeted)
        goes_on = client.open.answer(messages, self.now_s())
        for each in later:
            goes_on = goes_on and client.open.feed(each, self.now_s())
        if not goes_on:
            self._forget(addr, client, "odd")

    # ---- open sessions

    def _of_client(self, data: bytes, addr: Where, client: _Client) -> None:
        if client.open is not None and (client.opening is None or data[0] in {_APPLICATION_DATA, _ALERT}):
            if not client.open.feed(data, self.now_s()):
                self._forget(addr, client, "odd")
        elif client.opening is not None:
            client.opening.feed(data)

    def _greeted(self, addr: Where, client: _Client, session: Session, *, proving: bool) -> None:
        peer = session.peer
        assert peer is not None  # noqa: S101 - it is established
        self.failures.proved(addr[0], peer.device_id)
        self.metrics.handshake(_UDP, "field", "proposal" if proving else "done")
        if proving and self.proposals is not None:
            asked = self.work.submit(self.proposals.proved, peer.device_id, peer.spki, "udp", peer.exchanged.transcript)
            asked.add_done_callback(_on_record)
            asyncio.get_running_loop().call_soon(self._drop_session, addr, client, session)
        else:
            end = partial(self._drop_session, addr, client, session)
            client.entry = self.open_sessions.came(peer.device_id, peer.spki, end)

    def _drop_session(self, addr: Where, client: _Client, session: Session) -> None:
        if client.open is not None and client.open.session is session:
            self._drop_open(addr, client)

    def _drop_open(self, addr: Where, client: _Client, why: str = "closed") -> None:
        if client.open is not None:
            client.open.close()
            self._forget(addr, client, why)

    def _forget(self, addr: Where, client: _Client, why: str) -> None:
        self._left(client)
        if client.open is not None:
            if not client.open.greeted:
                self.metrics.handshake(_UDP, "field", why)
            client.open = None
        if client.opening is None:
            self._clients.pop(addr, None)

    def _left(self, client: _Client) -> None:
        if client.entry is not None:
            self.open_sessions.left(client.entry)
            client.entry = None

    def _look(self) -> None:
        """Who has not said Hello, or nothing at all, for too long."""
        now_s = self.now_s()
        for addr, client in tuple(self._clients.items()):
            found = client.open
            if found is None:
                continue
            most_s = self.times.longest_s if found.greeted else self.times.hello_s
            if now_s - found.since_s > most_s or now_s - found.heard_s > self.times.silence_s:
                self._drop_open(addr, client, "late")

    def _again(self, every_s: float, act: Callable[[], None]) -> None:
        """From now on, every so many seconds."""
        loop = asyncio.get_running_loop()
        number = len(self._clocks)

        def once() -> None:
            act()
            self._clocks[number] = loop.call_later(every_s, once)

        self._clocks.append(loop.call_later(every_s, once))

    def _send(self, addr: Where, datagram: bytes) -> None:
        if self._transport is not None and not self._full_line:
            self._transport.sendto(datagram, addr)


def _on_record(done: Future[bool]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("that a device has a proposed key was not put on record", exc_info=error)
