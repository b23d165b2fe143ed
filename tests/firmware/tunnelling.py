"""The cloud's end of a tunnel for these tests: the registry's own protocol code, and Hello and ping answered here.

Also what a service may do wrong, as a table: each with the error that a device must end in.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from hsm.signer import SignerError
from registry.device_service.tcp.conversation import Conversation
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.handshake import Accepted, Handshake
from registry.device_service.tcp.numbers import FromDevice, FromService
from registry.device_service.tcp.session import Session
from trust.codes import Code
from trust.identity import DeviceId

OPEN, STEP, CLOSE = range(3)
CLOSED, RUNNING, ESTABLISHED, FAILED = range(4)
NOT_TRUSTED, NOT_OPENED, BAD_ID, OTHER_PROTOCOL, TIMED_OUT, REFUSED = range(1, 7)
STEP_LIMIT = 640
Step = Callable[[bytes], dict[str, Any]]
"""Bytes to a device's client, and its answer's four values."""


def new_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def spki_of(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Keys:
    """The signer's verbs with a key in memory."""

    cloud: rsa.RSAPrivateKey

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        try:
            plain = self.cloud.decrypt(ciphertext, padding.PKCS1v15())
        except ValueError:  # a number beyond the modulus
            plain = b""
        if plain[: len(nonce)] != nonce:  # wrong padding gives random bytes
            raise SignerError(Code.HANDSHAKE_REFUSED, "no")
        return plain[len(nonce) :]

    def tcp_sign(self, mac: bytes) -> bytes:
        return self.cloud.sign(mac, padding.PKCS1v15(), NoDigestInfo())

    def dtls_sign(self, digest: bytes) -> bytes:
        raise AssertionError("not of this service")


@dataclass(frozen=True, slots=True)
class Pin:
    """One device's pin."""

    device_id: bytes
    spki: bytes

    def keys_of(self, device: DeviceId) -> list[bytes]:
        return [self.spki] if device.raw == self.device_id else []


def empty(kind: int, number: int) -> bytes:
    """CoAP's header alone."""
    return bytes([kind, 0]) + number.to_bytes(2)


def hello(number: int, kind: int = 0x50, payload: bytes = b"") -> bytes:
    return bytes([kind, 2]) + number.to_bytes(2) + b"\xb1h" + payload


@dataclass
class Service:
    """One connection. What is odd about the device raises; what is odd about the service is for its subclasses."""

    cloud: rsa.RSAPrivateKey
    pin: Pin
    first: int = field(default_factory=lambda: random.randrange(1, 65_536))
    heard: list[bytes] = field(default_factory=list)
    nonce: bytes = b""
    accepted: Accepted | None = None
    waiting: bytes = b""
    session: Session = field(init=False)
    theirs: FromDevice = field(init=False)

    def __post_init__(self) -> None:
        self.handshake = Handshake.begin(Keys(self.cloud), self.pin)
        self.nonce = self.handshake.nonce
        self.ids = FromService(self.first)

    def take(self, data: bytes) -> bytes:
        """What the device has sent, in any cut; what to send it."""
        if self.accepted is not None:
            return b"".join(self.answer(message) for message in self.session.feed(data))
        self.waiting += data
        if len(self.waiting) < 256:
            return b""
        self.accepted = self.handshake.accept(self.waiting[:256])
        self.session = Session(self.accepted.credentials)
        self.theirs = FromDevice(self.accepted.credentials.first_id)
        return self.message_3(self.accepted) + self.take(self.waiting[256:])

    def message_3(self, accepted: Accepted) -> bytes:
        return accepted.message_3

    def answer(self, message: bytes) -> bytes:
        self.heard.append(message)
        number = int.from_bytes(message[2:4])
        if message[0] == 0x60:
            return b""
        self.theirs.require_next(number)
        return self.answer_ping(number) if message[1] == 0 else self.answer_hello()

    def answer_hello(self) -> bytes:
        return self.seal(hello(self.ids.take()))

    def answer_ping(self, number: int) -> bytes:
        return self.seal(empty(0x60, number))

    def seal(self, message: bytes) -> bytes:
        return self.session.seal(message)

    def sealed_blocks(self, padded: bytes) -> bytes:
        """A frame of what is padded already, rightly or wrongly. No frame of the session's comes after it."""
        cipher = Cipher(AES(self.session._key.key), CBC(self.session._sent)).encryptor()
        return len(padded).to_bytes(2) + cipher.update(padded) + cipher.finalize()


def carry(step: Step, service: Service, data: bytes | None = None, cut: int = STEP_LIMIT) -> dict[str, Any]:
    """Bytes to and fro until neither side says anything; the device's last answer."""
    data = service.nonce if data is None else data
    while True:
        part, data = data[:cut], data[cut:]
        answer = step(part)
        assert not answer["more"], "one answer holds it all"
        if answer["out"]:
            data += service.take(answer["out"])
        if not data:
            return answer


class Conversing(Service):
    """The registry's own answers in the place of those of this page."""

    conversation: Conversation

    def take(self, data: bytes) -> bytes:
        return super().take(data) if self.accepted is None else self.conversation.feed(data)

    def message_3(self, accepted: Accepted) -> bytes:
        self.conversation = Conversation(accepted.credentials, self.first)
        return accepted.message_3


class Mute(Service):
    """Takes a Hello and leaves the answer to the test."""

    def answer_hello(self) -> bytes:
        return b""


class Reticent(Service):
    """Takes a ping and leaves the answer to the test."""

    def answer_ping(self, number: int) -> bytes:
        return b""


def last(service: Service) -> int:
    """The id of the device's last message."""
    return int.from_bytes(service.heard[-1][2:4])


Odd = tuple[type[Service], Callable[[Service], bytes], int]
"""How far the session is, what the service then sends, and the error that it must end in."""

ODD: dict[str, Odd] = {
    "no length": (Mute, lambda _: bytes(2), NOT_OPENED),
    "a length that is no blocks": (Mute, lambda _: b"\0\x11" + bytes(17), NOT_OPENED),
    "a length beyond the limit": (Mute, lambda _: (1056).to_bytes(2), NOT_OPENED),
    "the longest length": (Mute, lambda _: b"\xff\xff", NOT_OPENED),
    "no padding": (Mute, lambda s: s.sealed_blocks(bytes(16)), NOT_OPENED),
    "padding of 17": (Mute, lambda s: s.sealed_blocks(b"\x11" * 32), NOT_OPENED),
    "padding that is not alike": (Mute, lambda s: s.sealed_blocks(b"x" * 13 + b"\2\3\3"), NOT_OPENED),
    "an empty message": (Mute, lambda s: s.sealed_blocks(b"\x10" * 16), NOT_OPENED),
    "half a header": (Mute, lambda s: s.seal(b"\x50\x02\1"), OTHER_PROTOCOL),
    "a ping before the Hello": (Mute, lambda s: s.seal(empty(0x40, 7)), OTHER_PROTOCOL),
    "an acknowledgement before the Hello": (Mute, lambda s: s.seal(empty(0x60, last(s))), OTHER_PROTOCOL),
    "a Hello of another version of CoAP": (Mute, lambda s: s.seal(hello(7, kind=0x90)), OTHER_PROTOCOL),
    "a Hello with a token": (Mute, lambda s: s.seal(b"\x51\2\0\7t\xb1h"), OTHER_PROTOCOL),
    "a Hello to another path": (Mute, lambda s: s.seal(b"\x50\2\0\7\xb1i"), OTHER_PROTOCOL),
    "a Hello to a longer path": (Mute, lambda s: s.seal(b"\x50\2\0\7\xb1h\1h"), OTHER_PROTOCOL),
    "a Hello of an empty payload": (Mute, lambda s: s.seal(hello(7, payload=b"\xff")), OTHER_PROTOCOL),
    "a GET": (Mute, lambda s: s.seal(b"\x50\1\0\7\xb1h"), OTHER_PROTOCOL),
    "another acknowledgement": (Reticent, lambda s: s.seal(empty(0x60, last(s) ^ 1)), BAD_ID),
    "the Hello's acknowledgement": (Reticent, lambda s: s.seal(empty(0x60, last(s) - 1 & 0xFFFF)), BAD_ID),
    "a reset": (Reticent, lambda s: s.seal(empty(0x70, last(s))), REFUSED),
    "an acknowledgement with a code": (Reticent, lambda s: s.seal(b"\x60\x44" + last(s).to_bytes(2)), OTHER_PROTOCOL),
    "a second Hello": (Reticent, lambda s: s.seal(hello(s.ids.take())), OTHER_PROTOCOL),
    "a ping with the Hello's id": (Reticent, lambda s: s.seal(empty(0x40, s.first)), BAD_ID),
    "a ping out of order": (Reticent, lambda s: s.seal(empty(0x40, s.first + 2 & 0xFFFF)), BAD_ID),
    "a second acknowledgement": (Service, lambda s: s.seal(empty(0x60, last(s))), BAD_ID),
    "a ping that was there": (
        Service, lambda s: s.seal(empty(0x40, s.ids.take())) + s.seal(empty(0x40, s.first + 1 & 0xFFFF)), BAD_ID,
    ),
    "a request": (Service, lambda s: s.seal(b"\x40\1\0\7\xb1d"), OTHER_PROTOCOL),
}  # fmt: skip
IDS = {"a ping with the Hello's id", "a ping out of order", "a ping that was there"}
"""Those that a device without a look at the service's ids takes."""


def play_odd(step: Step, cloud: rsa.RSAPrivateKey, pin: Pin, name: str) -> tuple[dict[str, Any], int]:
    """The device's answer to the odd thing, and the error that is right."""
    kind, make, error = ODD[name]
    service = kind(cloud, pin)
    before = carry(step, service)
    assert before["st"] == (ESTABLISHED if kind is Service else RUNNING)
    return step(make(service)), error


class Forged(Service):
    """Signs with a key that is not the cloud's."""

    def message_3(self, accepted: Accepted) -> bytes:
        return accepted.message_3[:256] + Keys(new_rsa()).tcp_sign(bytes(20))


class OneBitOff(Service):
    def message_3(self, accepted: Accepted) -> bytes:
        return accepted.message_3[:-1] + bytes([accepted.message_3[-1] ^ 1])


class WithDigestInfo(Service):
    """Signs as RSASSA-PKCS1-v1_5 with SHA-1 does elsewhere."""

    def message_3(self, accepted: Accepted) -> bytes:
        return accepted.credentials.message_3(
            self.device_key, lambda mac: self.cloud.sign(mac, padding.PKCS1v15(), SHA1())
        )

    @property
    def device_key(self) -> rsa.RSAPublicKey:
        return public(self.pin.spki)


class OverOther(Service):
    """Signs the HMAC of other credentials."""

    def message_3(self, accepted: Accepted) -> bytes:
        other = Credentials(bytes(40)).message_3(public(self.pin.spki), Keys(self.cloud).tcp_sign)
        return accepted.message_3[:256] + other[256:]


class Garbage(Service):
    """What does not decrypt, and a signature of the cloud's."""

    def message_3(self, accepted: Accepted) -> bytes:
        return b"\x01" * 256 + accepted.message_3[256:]


class Longer(Service):
    """41 bytes, rightly signed."""

    def message_3(self, accepted: Accepted) -> bytes:
        hidden = public(self.pin.spki).encrypt(accepted.credentials.raw + b"x", padding.PKCS1v15())
        return hidden + accepted.message_3[256:]


def public(spki: bytes) -> rsa.RSAPublicKey:
    key = load_der_public_key(spki)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


UNTRUSTED: list[type[Service]] = [Forged, OneBitOff, WithDigestInfo, OverOther, Garbage, Longer]


def believed(step: Step, service: Service) -> bool:
    """Whether a device goes on after this service's message 3."""
    message_3 = service.take(step(service.nonce)["out"])
    return step(message_3)["st"] != FAILED
