"""A UDP socket with sessions behind it, for stock peers: one thread, one socket, many clients, cookies first.

What the service's own listener will do with more care; nothing in the product listens yet.
"""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from registry.device_service.udp.gnutls.endpoint import Timing
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import Peer, Session, SessionError
from tests.registry.device_service.service_end import QUICK, Rule, Service, untouched


def each_loses_another() -> Callable[[], Rule]:
    """A link on which the first client loses its first datagram, the second its second one, counted both ways."""
    clients = itertools.count()

    def link() -> Rule:
        number, datagrams = next(clients), itertools.count()
        return lambda datagram, *_: [] if next(datagrams) == number else [datagram]

    return link


@dataclass
class Doorway:
    """`answer` makes one message of another; `link` makes what each client's datagrams go through."""

    service: Service
    answer: Callable[[bytes], bytes]
    timing: Timing = QUICK
    link: Callable[[], Rule] = lambda: untouched
    rules: dict[Any, Rule] = field(default_factory=dict)
    sessions: dict[Any, Session] = field(default_factory=dict)
    opened: int = 0
    peers: list[Peer] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    ends: list[Reason] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.over = False

    def serve(self) -> None:
        while not self.over:
            ready, _, _ = select.select([self.socket], [], [], 0.02)
            if ready:
                datagram, whence = self.socket.recvfrom(4096)
                for each in self._ruled(datagram, "up", whence):
                    self._took(each, whence)
            for whence, session in list(self.sessions.items()):
                if session.due_s() is not None:
                    self._step(whence, session, session.tick)

    def _took(self, datagram: bytes, whence: Any) -> None:
        session = self.sessions.get(whence)
        if session is None:
            name = repr(whence).encode()
            state = self.service.cookies.verified(name, datagram)
            if state is None:
                question = self.service.cookies.question(name, datagram)
                if question is not None:
                    self._send(question, whence)
                return
            self.opened += 1
            session = self.sessions[whence] = Session(
                self.service.credentials, self.service.pins, cookie=state, timing=self.timing
            )
        self._step(whence, session, lambda: session.feed(datagram))

    def _step(self, whence: Any, session: Session, act: Callable[[], list[bytes]]) -> None:
        try:
            was = session.established
            for message in act():
                self.heard.append(message)
                session.send(self.answer(message))
            if session.peer is not None and not was:
                self.peers.append(session.peer)
        except SessionError as error:
            self.ends.append(error.reason)
            del self.sessions[whence]
        for datagram in session.outgoing():
            self._send(datagram, whence)

    def _send(self, datagram: bytes, whence: Any) -> None:
        for each in self._ruled(datagram, "down", whence):
            self.socket.sendto(each, whence)

    def _ruled(self, datagram: bytes, way: str, whence: Any) -> list[bytes]:
        self.count[way] += 1
        if whence not in self.rules:
            self.rules[whence] = self.link()
        return self.rules[whence](datagram, way, self.count[way] - 1)

    def wait(self, for_what: Callable[[], bool], within_s: float = 10) -> bool:
        until = time.monotonic() + within_s
        while not for_what() and time.monotonic() < until:
            time.sleep(0.01)
        return for_what()


@contextmanager
def open_doorway(
    service: Service, answer: Callable[[bytes], bytes] = lambda message: message, timing: Timing = QUICK
) -> Iterator[Doorway]:
    doorway = Doorway(service, answer, timing)
    thread = threading.Thread(target=doorway.serve)
    thread.start()
    try:
        yield doorway
    finally:
        doorway.over = True
        thread.join()
        doorway.socket.close()
