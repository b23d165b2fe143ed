"""The cloud's end of a UDP tunnel for these tests: the registry's own DTLS sessions, and its own answers in them.

Also what a service, or a line, may do wrong with a device's client: each with the error that it must end in.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from registry.device_service import coap
from registry.device_service.udp.conversation import Conversation
from registry.device_service.udp.gnutls.cookies import Cookies
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.endpoint import Timing
from registry.device_service.udp.gnutls.library import Library
from registry.device_service.udp.session import BENCH_MTU, Session, SessionError
from tests.firmware.machine import DEVICE_ID
from tests.firmware.tunnelling import BAD_ID, NOT_OPENED, OTHER_PROTOCOL, REFUSED, RUNNING, STEP_LIMIT, Step, empty
from tests.registry.device_service.dtls_client import spki_of
from tests.registry.device_service.service_end import Pins, Signer, new_key
from trust.identity import DeviceId

OUT_LIMIT = 800
QUICK = Timing(retransmit_ms=60, total_ms=15_000)
LIBRARY = Library.load()


class Cloud:
    """A cloud key, and what the library makes of it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.signer = Signer(key or new_key())
        self.spki = spki_of(self.signer.key)
        self.credentials = Credentials(LIBRARY, self.spki, self.signer.sign)


@dataclass
class Service:
    """One association. It takes whoever's key is `pinned`."""

    cloud: Cloud
    pinned: bytes
    mtu: int = BENCH_MTU
    cookies: Cookies | None = None
    device_id: bytes = DEVICE_ID
    heard: list[coap.Heard] = field(default_factory=list)
    refusal: SessionError | None = None
    session: Session | None = None

    def __post_init__(self) -> None:
        self.conversation = Conversation(DeviceId(self.device_id), 4711)

    def take(self, datagram: bytes) -> list[bytes]:
        """A datagram of the device's, and what the service sends then."""
        state = None
        if self.session is None and self.cookies is not None:
            state = self.cookies.verified(b"device", datagram)
            if state is None:
                question = self.cookies.question(b"device", datagram)
                return [] if question is None else [question]
        if self.session is None:
            pins = Pins({self.pinned: DeviceId(self.device_id)})
            self.session = Session(self.cloud.credentials, pins, cookie=state, mtu=self.mtu, timing=QUICK)
        return self.stepped(lambda session: session.feed(datagram))

    def stepped(self, act: Callable[[Session], list[bytes]]) -> list[bytes]:
        assert self.session is not None
        try:
            for message in act(self.session):
                self.heard.append(coap.Heard.parse(message))
                self.answer(message)
        except SessionError as error:
            self.refusal = error
        return self.session.outgoing()

    def answer(self, message: bytes) -> None:
        for each in self.conversation.answer(message):
            self.send(each)

    def send(self, message: bytes) -> None:
        assert self.session is not None
        self.session.send(message)

    def sealed(self, message: bytes) -> bytes:
        """One message as the datagram that carries it."""
        self.send(message)
        assert self.session is not None
        (datagram,) = self.session.outgoing()
        return datagram


class Mute(Service):
    """Takes a Hello and leaves the answer to the test."""

    def answer(self, message: bytes) -> None:
        pass


Link = Callable[[bytes, str], list[bytes]]
"""What becomes of a datagram on its way "up" or "down"."""


def untouched(datagram: bytes, _way: str) -> list[bytes]:
    return [datagram]


def carry(step: Step, service: Service, down: list[bytes] | None = None, link: Link = untouched) -> dict[str, Any]:
    """Datagrams to and fro until neither side has any; the device's last answer."""
    waiting = deque(down or [b""])
    while True:
        answer = step(waiting.popleft() if waiting else b"")
        assert len(answer["out"]) <= OUT_LIMIT
        for datagram in link(answer["out"], "up") if answer["out"] else []:
            waiting.extend(each for sent in service.take(datagram) for each in link(sent, "down"))
        assert all(len(each) <= STEP_LIMIT for each in waiting)
        if not waiting and not answer["more"]:
            return answer


def handshake_part(datagram: bytes, kind: int) -> slice | None:
    """Where the body of a handshake message stands in the datagram, if it is there in the clear and whole."""
    at = 0
    while at + 25 <= len(datagram):
        content, epoch, size = datagram[at], datagram[at + 3 : at + 5], int.from_bytes(datagram[at + 11 : at + 13])
        if content == 22 and epoch == bytes(2) and datagram[at + 13] == kind:
            return slice(at + 25, at + 13 + size)
        at += 13 + size
    return None


SERVER_HELLO, CERTIFICATE, KEY_EXCHANGE, HELLO_DONE = 2, 11, 12, 14


def changing(kind: int, change: Callable[[bytes], bytes]) -> Link:
    """A line that changes one message of the service's, and leaves its length alone."""

    def link(datagram: bytes, way: str) -> list[bytes]:
        part = handshake_part(datagram, kind) if way == "down" else None
        if part is None:
            return [datagram]
        changed = change(datagram[part])
        assert len(changed) == part.stop - part.start and changed != datagram[part]
        return [datagram[: part.start] + changed + datagram[part.stop :]]

    return link


def flipped(at: int) -> Callable[[bytes], bytes]:
    """One bit is another, counted from either end."""

    def change(body: bytes) -> bytes:
        changed = bytearray(body)
        changed[at] ^= 1
        return bytes(changed)

    return change


def with_long_key(flight: bytes) -> bytes:
    """The service's ServerHello, and then a key that is longer than any."""
    end = 13 + int.from_bytes(flight[11:13])
    body = (500).to_bytes(3) + bytes(500)
    message = bytes([CERTIFICATE]) + len(body).to_bytes(3) + b"\0\1" + bytes(3) + len(body).to_bytes(3) + body
    return flight[:end] + flight[:3] + bytes(2) + (99).to_bytes(6) + len(message).to_bytes(2) + message


def extension(body: bytes, kind: int) -> int:
    """Where an extension of a ServerHello begins."""
    at = 35 + body[34] + 3 + 2
    while struct.unpack_from(">H", body, at)[0] != kind:
        at += 4 + struct.unpack_from(">H", body, at + 2)[0]
    return at


def with_bytes(where: Callable[[bytes], int], new: bytes) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        at = where(body)
        return body[:at] + new + body[at + len(new) :]

    return change


ALTERED: dict[str, tuple[Link, int]] = {
    "DTLS 1.0": (changing(SERVER_HELLO, with_bytes(lambda _: 0, b"\xfe\xff")), OTHER_PROTOCOL),
    "a suite that was not offered": (changing(SERVER_HELLO, with_bytes(lambda b: 35 + b[34], b"\xc0\xaf")), OTHER_PROTOCOL),
    "no suite": (changing(SERVER_HELLO, with_bytes(lambda b: 35 + b[34], b"\x00\x00")), OTHER_PROTOCOL),
    "an extension beyond the end": (
        changing(SERVER_HELLO, with_bytes(lambda b: extension(b, 23) + 2, b"\xff\xff")), NOT_OPENED,
    ),
    "a certificate longer than its message": (changing(CERTIFICATE, flipped(2)), NOT_OPENED),
    "another curve": (changing(KEY_EXCHANGE, with_bytes(lambda _: 2, b"\x18")), OTHER_PROTOCOL),
    "a point that is none": (changing(KEY_EXCHANGE, flipped(4)), OTHER_PROTOCOL),
    "another hash": (changing(KEY_EXCHANGE, with_bytes(lambda _: 69, b"\x02")), OTHER_PROTOCOL),
}  # fmt: skip
"""What comes out when somebody on the way changes the service's words: the error at the device, whoever did it."""

RAW_ONLY: dict[str, tuple[Link, int]] = {
    f"{what} in the answer for {whose} key": (
        changing(SERVER_HELLO, with_bytes(lambda b, kind=kind, at=at: extension(b, kind) + at, new)), OTHER_PROTOCOL,
    )
    for whose, kind in (("the device's", 19), ("the cloud's", 20))
    for what, at, new in (("no raw keys", 0, b"\xff"), ("certificates", 4, b"\x00"))
}  # fmt: skip
"""A service that has no raw keys, for a client that takes nothing else."""

Odd = tuple[bool, Callable[[Service], bytes], int]
"""Whether the session is established, what the service then sends, and the error that it must end in."""


def hello_id(service: Service) -> int:
    return service.heard[0].number


ODD: dict[str, Odd] = {
    "half a header": (False, lambda _: b"\x50\x02\1", OTHER_PROTOCOL),
    "a GET": (False, lambda _: b"\x50\1\0\7\xb1h", OTHER_PROTOCOL),
    "a Hello to another path": (False, lambda _: b"\x50\2\0\7\xb1i", OTHER_PROTOCOL),
    "an answer in the acknowledgement": (False, lambda s: b"\x60\x44" + hello_id(s).to_bytes(2), OTHER_PROTOCOL),
    "another acknowledgement": (False, lambda s: empty(0x60, hello_id(s) ^ 1), BAD_ID),
    "a reset": (False, lambda s: empty(0x70, hello_id(s)), REFUSED),
    "a request": (True, lambda _: b"\x40\1\0\7\xb1d", OTHER_PROTOCOL),
    "another acknowledgement, later": (True, lambda s: empty(0x60, hello_id(s) ^ 1), BAD_ID),
    "the longest message": (True, lambda s: bytes(s.session.most_bytes), OTHER_PROTOCOL),  # type: ignore[union-attr]
}


def play_odd(step: Step, cloud: Cloud, pinned: bytes, name: str) -> tuple[dict[str, Any], int, Service]:
    """The device's answer to the odd thing, the error that is right, and the service."""
    established, make, error = ODD[name]
    service = (Service if established else Mute)(cloud, pinned)
    before = carry(step, service)
    assert (before["st"] == RUNNING) != established
    return step(service.sealed(make(service))), error, service
