"""The service's end for tests of DTLS: keys, pins, and a link in memory that loses, repeats and moves datagrams."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from registry.device_service.udp.gnutls.cookies import Cookies
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.endpoint import Timing
from registry.device_service.udp.gnutls.library import Library
from registry.device_service.udp.session import MTU, Session, SessionError
from tests.registry.device_service.dtls_client import Client, spki_of
from trust.identity import DeviceId

ID = DeviceId(bytes(range(12)))
QUICK = Timing(retransmit_ms=60, total_ms=15_000)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Signer:
    """What the cloud signer's verb does, over a key in this process."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    asked: int = 0

    def sign(self, digest: bytes) -> bytes:
        assert len(digest) == 32
        self.asked += 1
        return self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


@dataclass
class Pins:
    known: dict[bytes, DeviceId] = field(default_factory=dict)
    asked: int = 0

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        return [spki for spki, owner in self.known.items() if owner == device]

    def good(self, spki: bytes) -> DeviceId | None:
        self.asked += 1
        return self.known.get(spki)


@dataclass
class Service:
    """Credentials, cookies and pins of one service, and a device that is pinned there."""

    library: Library = field(default_factory=Library.load)
    signer: Signer = field(default_factory=Signer)
    pins: Pins = field(default_factory=Pins)
    device: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def __post_init__(self) -> None:
        self.credentials = Credentials(self.library, spki_of(self.signer.key), self.signer.sign)
        self.cookies = Cookies(self.library)
        self.pins.known[spki_of(self.device)] = ID
        self.signer.asked = 0

    def session(self, client: Client, *, timing: Timing = QUICK, cookie: bool = True, mtu: int = MTU) -> Session:
        """With the client's first hello in it; its answer waits in `outgoing`."""
        client.step()
        hello, state = client.outbox.popleft(), None
        if cookie:
            question = self.cookies.question(b"client", hello)
            assert question is not None
            client.inbox.append(question)
            client.step()
            hello = client.outbox.popleft()
            state = self.cookies.verified(b"client", hello)
            assert state is not None
        session = Session(self.credentials, self.pins, cookie=state, timing=timing, mtu=mtu)
        session.feed(hello)
        return session


Rule = Callable[[bytes, str, int], list[bytes]]
"""What becomes of a datagram: its bytes, "up" or "down", and its number that way."""


def untouched(datagram: bytes, _way: str, _number: int) -> list[bytes]:
    return [datagram]


@dataclass
class Meeting:
    """A client and a session, and the link between them. Both clocks are the machine's."""

    client: Client
    session: Session
    rule: Rule = untouched
    ticking: bool = True
    refusal: SessionError | None = None
    heard: list[bytes] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def carry(self) -> bool:
        """What either side has to send, once; whether there was something."""
        down = [each for datagram in self.session.outgoing() for each in self._ruled(datagram, "down")]
        self.client.inbox.extend(down)
        self.told += self.client.step()
        up = [self.client.outbox.popleft() for _ in range(len(self.client.outbox))]
        for datagram in (each for one in up for each in self._ruled(one, "up")):
            self._feed(datagram)
        return bool(down or up)

    def run(self, within_s: float = 8) -> Meeting:
        """Until both are through, or one is over, or neither has anything to say for so long."""
        until = time.monotonic() + within_s
        while time.monotonic() < until and not self.settled:
            if self.carry():
                continue
            if not self.ticking:
                break
            time.sleep(0.01)
            if self.session.due_s() is not None and self.refusal is None:
                self._step(self.session.tick)
        self.carry()
        return self

    @property
    def settled(self) -> bool:
        return (self.client.done and self.session.established) or bool(self.refusal) or bool(self.client.failed)

    @property
    def through(self) -> bool:
        return self.client.done and not self.client.failed and self.session.established and self.refusal is None

    def _ruled(self, datagram: bytes, way: str) -> list[bytes]:
        self.count[way] += 1
        return self.rule(datagram, way, self.count[way] - 1)

    def _feed(self, datagram: bytes) -> None:
        if self.refusal is None:
            self._step(lambda: self.heard.extend(self.session.feed(datagram)))

    def _step(self, act: Callable[[], None]) -> None:
        try:
            act()
        except SessionError as error:
            self.refusal = error


def shaken(dice: random.Random, loss: float, most: int = 5) -> Rule:
    """Loses some, but not for ever, repeats some, and keeps some back until the next one of its way."""
    kept: dict[str, list[bytes]] = {"up": [], "down": []}
    lost = 0

    def rule(datagram: bytes, way: str, _number: int) -> list[bytes]:
        nonlocal lost
        late, kept[way] = kept[way], []
        if lost < most and dice.random() < loss:
            lost += 1
            return late
        if dice.random() < 0.2:
            kept[way] = [datagram]
            return late
        return [datagram] * (2 if dice.random() < 0.2 else 1) + late

    return rule
