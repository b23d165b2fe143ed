"""Mangled input for each parser of the device services: what may come of it is a refusal of the parser's own, or nothing.

Each target plays one input and more, and says how many. Whatever else is raised, it lets through. A crash in GnuTLS ends
the process, which nobody can overlook.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fixtures.families.smp import values
from fixtures.families.smp.cbor_body import Body, BodyError
from hsm.signer import SignerError
from registry.device_service.coap import CoapError, Heard, Hello
from registry.device_service.relay.messages import (
    LENGTH,
    MAX_FRAME_BYTES,
    FrameError,
    Open,
    Step,
    body_length,
    framed,
    read_request,
)
from registry.device_service.tcp.claim import KEY_BYTES, Claim, ClaimError
from registry.device_service.tcp.conversation import Conversation
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.handshake import Handshake, RefusedHandshakeError
from registry.device_service.tcp.session import Session, SessionError
from registry.device_service.udp.gnutls.hello import takes_raw_key
from registry.device_service.udp.packing import packed, unpacked
from registry.device_service.udp.session import Session as DtlsSession
from registry.device_service.udp.session import SessionError as DtlsError
from tests.registry.device_service.dtls_client import CERTIFICATE, RAW, Client, spki_of
from tests.registry.device_service.seeded import seeded
from tests.registry.device_service.service_end import Meeting, Service
from tests.registry.device_service.test_conversation import hello, message, ping
from tests.registry.device_service.test_tcp import ID, Pins
from trust.codes import Code
from trust.identity import DeviceId

Target = Callable[[random.Random], int]
COAP = [
    hello(1), hello(7, bytes(10)), ping(3), message(0, 3, 9, b"\xb1k\xff\x01"), message(2, 0, 500),
    message(0, 1, 4, b"\xb4time"), b"\x44\x01\x00\x05tokn\xb1e\xff{}", message(1, 2, 2, b"\xd1\x03h\xe2\x01\x00hh\xff\x00"),
]  # fmt: skip
RAW_CREDENTIALS = bytes(range(40))


def mangled(dice: random.Random, data: bytes, most: int = 4) -> bytes:
    """With up to so many changes: a bit, a byte, some gone, some there twice, some new."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, most)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << dice.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = dice.choice(
                    (0, 1, 0x0F, 0x7F, 0x80, 0xD0, 0xE0, 0xF0, 0xFF, dice.randrange(256))
                )
            case 2:
                del changed[at : at + dice.choice((1, 2, 8, len(changed)))]
            case 3:
                changed[at:at] = changed[at : at + dice.randint(1, 20)]
            case 4:
                changed[at:at] = dice.randbytes(dice.randint(1, 8))
            case _ if changed:
                del changed[dice.randrange(len(changed)) :]
    return bytes(changed)


def coap_message(dice: random.Random) -> int:
    with contextlib.suppress(CoapError):
        heard = Heard.parse(mangled(dice, dice.choice(COAP)))
        Hello.parse(mangled(dice, heard.payload) if dice.random() < 0.5 else heard.payload)
    return 1


@dataclass(frozen=True, slots=True)
class Opening:
    """A signer that opens whatever it gets to these bytes, or not."""

    plain: bytes | None

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        if self.plain is None:
            raise SignerError(Code.HANDSHAKE_REFUSED, "no")
        return self.plain

    def tcp_sign(self, mac: bytes) -> bytes:
        return mac + bytes(236)


class Claims:
    """Message 2 as it was opened, and message 2 as it came."""

    def __init__(self) -> None:
        own = seeded("large", 2048).spki
        self._pins = Pins({DeviceId(ID): own})
        self._seeds = (ID, ID + own[:KEY_BYTES], ID + bytes(KEY_BYTES), b"")

    def __call__(self, dice: random.Random) -> int:
        plain = mangled(dice, dice.choice(self._seeds), 2)
        with contextlib.suppress(ClaimError):
            Claim.parse(plain)
        keys = Opening(plain if dice.random() < 0.9 else None)
        handshake = Handshake(nonce=bytes(40), keys=keys, pins=self._pins, random=dice.randbytes)  # type: ignore[arg-type]
        with contextlib.suppress(RefusedHandshakeError):
            handshake.accept(dice.randbytes(dice.choice((256, 256, 256, 0, 255, 257))))
        return 2


def conversation(dice: random.Random) -> int:
    """A session's bytes: messages mangled before they were sealed, and frames after; in any cuts."""
    service, device, number, played = (
        Conversation(Credentials(RAW_CREDENTIALS), 500),
        Session(Credentials(RAW_CREDENTIALS)),
        0,
        0,
    )
    first = Credentials(RAW_CREDENTIALS).first_id
    with contextlib.suppress(SessionError):
        for _ in range(8):
            said = hello(first) if not number else dice.choice((ping, hello))(first + number)
            said = mangled(dice, said, 1) if dice.random() < 0.15 else said
            frame = device.seal(said[:1024]) if said else b""
            frame = mangled(dice, frame, 2) if dice.random() < 0.1 else frame
            cut = dice.randrange(len(frame) + 1)
            for part in (frame[:cut], frame[cut:]):
                played += 1
                service.feed(part)
            number += 1
    return played


def hellos(service: Service) -> Target:
    """First datagrams, as the public socket takes them: cookie asked for, cookie looked at; nothing is kept."""
    seeds = []
    for kind in (RAW, CERTIFICATE):
        client = Client(service.device, kind=kind)
        client.step()
        seeds.append(client.outbox.popleft())
        client.inbox.append(service.cookies.question(b"here", seeds[-1]) or b"")
        client.step()
        seeds.append(client.outbox.popleft())

    def play(dice: random.Random) -> int:
        datagram = mangled(dice, dice.choice(seeds))
        question = service.cookies.question(b"here", datagram)
        assert question is None or len(question) <= len(datagram)
        service.cookies.verified(b"here", datagram)
        takes_raw_key(datagram[25:])
        if datagram:
            packed(unpacked(datagram), 640)
        return 1

    return play


def first_flights(service: Service) -> Target:
    """First datagrams that come to a session, without a cookie, as by the relay."""
    client = Client(service.device, kind=RAW)
    client.step()
    seed = client.outbox.popleft()

    def play(dice: random.Random) -> int:
        session, played = DtlsSession(service.credentials, service.pins, mtu=640), 0
        with contextlib.suppress(DtlsError):
            for _ in range(4):
                played += 1
                session.feed(mangled(dice, seed))
                session.outgoing()
        assert session.peer is None
        return played

    return play


def handshakes(service: Service) -> Target:
    """Whole handshakes in which what the device sends is mangled now and then; nobody else comes of it."""

    def play(dice: random.Random) -> int:
        def rule(datagram: bytes, way: str, _number: int) -> list[bytes]:
            return [mangled(dice, datagram, 2) if way == "up" and dice.random() < 0.3 else datagram]

        client = Client(service.device, kind=dice.choice((RAW, CERTIFICATE)))
        meeting = Meeting(client, service.session(client, cookie=dice.random() < 0.5), rule, ticking=False).run(2)
        assert meeting.session.peer is None or meeting.session.peer.spki == spki_of(service.device)
        return meeting.count["up"] + 1

    return play


def records(service: Service) -> Target:
    """Datagrams to an open session, from whoever writes in the device's name: they neither end it nor are they heard."""
    client = Client(service.device)
    meeting = Meeting(client, service.session(client)).run()
    assert meeting.through

    def play(dice: random.Random) -> int:
        client.send(b"honest")
        datagram = client.outbox.popleft()
        for _ in range(30):
            changed = mangled(dice, datagram)
            if datagram not in changed:  # with something around it, it is still the honest one
                assert meeting.session.feed(changed) == []
        assert meeting.session.feed(datagram) == [b"honest"]
        return 31

    return play


REQUESTS = [
    framed(each)
    for each in (
        Open(station="station-01", device_id="ab" * 12, job="cd" * 16, protocol="udp"),
        Step(station="station-01", handshake="ef" * 16, received=(b"", bytes(range(256)) * 8)),
    )
]


def relay_request(dice: random.Random) -> int:
    """What stands in a frame of the relay's socket, and the frame's head."""
    frame = dice.choice(REQUESTS)
    head, body = mangled(dice, frame[: LENGTH.size])[: LENGTH.size].ljust(LENGTH.size), frame[LENGTH.size :]
    with contextlib.suppress(FrameError):
        assert body_length(head) <= MAX_FRAME_BYTES
    with contextlib.suppress(FrameError):
        assert framed(read_request(mangled(dice, body)))
    return 2


TUNNELLED = [
    Body({"st": 1, "out": bytes(300), "more": True, "why": 0}).encode(),
    Body({"st": 3, "out": b"", "more": False, "why": 2}).encode(),
]


def tunnel_answer(dice: random.Random) -> int:
    """What a device answers to a step of its tunnel, as the driver reads it."""
    with contextlib.suppress(BodyError):
        assert len(values.tunnelled(Body.decode(mangled(dice, dice.choice(TUNNELLED)))).sent) <= 800
    return 1


def targets() -> Iterator[tuple[str, Target]]:
    """All of them by name."""
    service = Service()
    yield from {
        "CoAP messages": coap_message, "message 2": Claims(), "TCP sessions": conversation, "UDP hellos": hellos(service),
        "UDP first flights": first_flights(service), "UDP handshakes": handshakes(service), "UDP records": records(service),
        "relay requests": relay_request, "tunnel answers": tunnel_answer,
    }.items()  # fmt: skip


def campaign(target: Target, *, inputs: int, seed: int) -> tuple[int, float]:
    """How many inputs were played, and in how many seconds; AssertionError with the seed of the one that failed."""
    played, round_, began = 0, 0, time.monotonic()
    while played < inputs:
        own = seed * 1_000_000_007 + round_
        try:
            played += target(random.Random(own))
        except BaseException as error:
            raise AssertionError(f"{target}: random.Random({own}) plays it again") from error
        round_ += 1
    return played, time.monotonic() - began
