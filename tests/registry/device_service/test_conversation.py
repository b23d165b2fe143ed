"""Hello, pings and key changes over the TCP service's session: ids, order, and whatever is odd."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.device_service import coap
from registry.device_service.coap import CoapError, Heard, Hello, Kind
from registry.device_service.tcp.conversation import Conversation
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.session import SessionError
from tests.registry.device_service.oracle import OracleDevice
from tests.registry.device_service.seeded import Rsa
from trust.identity import DeviceId

HELLO = struct.pack(">HHHHBB", 7, 3, 2, 1, 0, 0)
ID = bytes(range(12))


def message(kind: int, code: int, number: int, rest: bytes = b"") -> bytes:
    """RFC 7252 §3: version 1, type, no token, code, id."""
    return bytes([0x40 | kind << 4, code]) + number.to_bytes(2, "big") + rest


def hello(number: int, payload: bytes = HELLO) -> bytes:
    return message(1, 2, number, b"\xb1h\xff" + payload)


def ping(number: int) -> bytes:
    return message(0, 0, number)


class Talk:
    """A device and the service, with the session open."""

    def __init__(self, raw: bytes = bytes(range(40))) -> None:
        self.service = Conversation(Credentials(raw), 500)
        self.device = OracleDevice(Rsa(3, 5), Rsa(3, 5), ID, credentials=raw, _sent=raw[16:32], _received=raw[16:32])
        self.next = self.device.first_id

    def says(self, *messages: bytes) -> list[bytes]:
        """What the service answers to these, opened."""
        answer = self.service.feed(b"".join(self.device.seal(each) for each in messages))
        found = []
        while answer:
            size = 2 + int.from_bytes(answer[:2], "big")
            frame, answer = answer[:size], answer[size:]
            found.append(self.device.open(frame))
        return found

    def greeted(self) -> Talk:
        assert self.says(hello(self.next)) == [message(1, 2, 500, b"\xb1h")]
        return self


def test_hello_both_ways_then_pings() -> None:
    talk = Talk().greeted()
    assert talk.service.hello == Hello(product_id=7, product_version=3, flags=2, platform_id=1, device_id=None)
    assert talk.says(ping(talk.next + 1)) == [message(2, 0, talk.next + 1)]
    assert talk.says(message(2, 0, 500)) == [], "acknowledgements do not count"
    assert talk.says(ping(talk.next + 2), ping(talk.next + 3)) == [
        message(2, 0, talk.next + 2), message(2, 0, talk.next + 3),
    ]  # fmt: skip


def test_a_key_change_ends_the_session() -> None:
    talk = Talk().greeted()
    assert talk.says(message(0, 3, talk.next + 1, b"\xb1k\xff\x01")) == [message(2, 68, talk.next + 1)]
    assert talk.service.over
    with pytest.raises(SessionError, match="after the end"):
        talk.says(ping(talk.next + 2))


def test_what_we_do_not_serve_is_not_found() -> None:
    talk = Talk().greeted()
    assert talk.says(message(0, 1, talk.next + 1, b"\xb4time")) == [message(2, 132, talk.next + 1)]
    assert talk.says(message(1, 2, talk.next + 2, b"\xb1e\xff{}")) == [], "nobody waits for an answer"
    assert talk.says(hello(talk.next + 3)) == [], "a second Hello is nothing new"


ODD: dict[str, Callable[[Talk], bytes]] = {
    "the same id again": lambda talk: ping(talk.next),
    "an id left out": lambda talk: ping(talk.next + 2),
    "an earlier id": lambda talk: ping(talk.next - 1),
    "another version of CoAP": lambda talk: b"\x80\x00" + (talk.next + 1).to_bytes(2, "big"),
    "cut short": lambda _: b"\x40\x00\x01",
    "a token that is not there": lambda talk: b"\x48\x01" + (talk.next + 1).to_bytes(2, "big"),
    "a token too long": lambda talk: b"\x49\x01" + (talk.next + 1).to_bytes(2, "big") + bytes(9),
    "a marker and nothing": lambda talk: message(0, 1, talk.next + 1, b"\xff"),
}


@pytest.mark.parametrize("odd", ODD)
def test_whatever_is_odd_ends_it(odd: str) -> None:
    talk = Talk().greeted()
    with pytest.raises(SessionError):
        talk.says(ODD[odd](talk))
    with pytest.raises(SessionError):
        talk.service.feed(b"")


FIRST: dict[str, Callable[[int], bytes]] = {
    "a ping": ping,
    "another id": lambda number: hello(number + 1),
    "an acknowledgement": lambda number: message(2, 0, number),
    "a Hello cut short": lambda number: hello(number, HELLO[:-1]),
    "a Hello with something reserved": lambda number: hello(number, HELLO[:8] + b"\x01\x00"),
    "a Hello with half an id": lambda number: hello(number, HELLO[:9] + b"\x06" + bytes(6)),
    "a Hello with no id where one is said": lambda number: hello(number, HELLO[:9] + b"\x0c"),
    "a Hello of nobody": lambda number: hello(number, HELLO[:9] + b"\x0c" + bytes(12)),
    "a Hello too long": lambda number: hello(number, HELLO + bytes(65)),
}


@pytest.mark.parametrize("first", FIRST)
def test_the_first_message_is_a_hello_of_the_right_id_and_form(first: str) -> None:
    talk = Talk()
    with pytest.raises(SessionError):
        talk.says(FIRST[first](talk.next))
    assert talk.service.hello is None


def test_a_hello_over_udp_says_who() -> None:
    found = Hello.parse(HELLO[:9] + b"\x0c" + ID + bytes(10))
    assert found.device_id == DeviceId(ID)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_are_more_than_an_error(data: bytes) -> None:
    for parse in (Heard.parse, Hello.parse):
        try:
            parse(data)
        except CoapError:
            continue


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_tampered_session_ends_or_says_nothing_of_ours(seed: int) -> None:
    """There is no MAC: what comes through must at least be a message of the next id."""
    dice = random.Random(seed)
    talk = Talk().greeted()
    frame = bytearray(talk.device.seal(ping(talk.next + 1)))
    frame[2 + dice.randrange(len(frame) - 2)] ^= 1 << dice.randrange(8)
    try:
        answer = talk.service.feed(bytes(frame))
    except SessionError:
        return
    assert answer, "it came through as the same ping"


def test_kinds() -> None:
    found = {
        Heard.parse(each).kind for each in (hello(1), ping(1), message(2, 0, 1), message(3, 0, 1), message(1, 1, 1))
    }
    assert found == {Kind.HELLO, Kind.PING, Kind.ACKNOWLEDGEMENT, Kind.RESET, Kind.OTHER}
    assert coap.hello(7) == message(1, 2, 7, b"\xb1h")
