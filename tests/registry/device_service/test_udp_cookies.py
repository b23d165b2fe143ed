"""Cookies: whoever does not hear what is sent to the address that it writes from costs the service nothing."""

from __future__ import annotations

import random

import pytest

from registry.device_service.udp.gnutls.cookies import SHORTEST_HELLO, Cookies, is_hello
from registry.device_service.udp.gnutls.library import Library
from registry.device_service.udp.session import Session
from tests.registry.device_service.dtls_client import CERTIFICATE, RAW, Client
from tests.registry.device_service.service_end import Meeting, Service, new_key

HERE, ELSEWHERE = b"192.0.2.1:40000", b"192.0.2.1:40001"


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.load()


@pytest.fixture
def cookies(library: Library) -> Cookies:
    return Cookies(library)


def hello(client: Client) -> bytes:
    client.step()
    return client.outbox.popleft()


def second(cookies: Cookies, client: Client, whence: bytes = HERE) -> bytes:
    """The hello with the cookie in it."""
    question = cookies.question(whence, hello(client))
    assert question is not None
    client.inbox.append(question)
    return hello(client)


@pytest.mark.parametrize("kind", [RAW, CERTIFICATE])
def test_a_cookie_is_good_for_whom_it_was_made(cookies: Cookies, kind: str) -> None:
    client = Client(new_key(), kind=kind)
    with_cookie = second(cookies, client)
    assert cookies.verified(HERE, with_cookie) is not None
    for other in (ELSEWHERE, b"", HERE[:-1], HERE + b"0"):
        assert cookies.verified(other, with_cookie) is None


def test_a_hello_without_a_cookie_or_with_another_is_not_verified(cookies: Cookies, library: Library) -> None:
    client = Client(new_key())
    client.step()
    assert cookies.verified(HERE, client.outbox[0]) is None
    with_cookie = second(cookies, Client(new_key()))
    assert Cookies(library).verified(HERE, with_cookie) is None
    at = with_cookie.index(b"\x10", 59)  # behind random and session id
    assert with_cookie[59:61] == b"\0\x10", "16 bytes of cookie"
    for number in range(at + 1, at + 17):
        forged = with_cookie[:number] + bytes([with_cookie[number] ^ 1]) + with_cookie[number + 1 :]
        assert cookies.verified(HERE, forged) is None, number


def test_cookies_live_for_a_turn_and_not_for_three(cookies: Cookies) -> None:
    with_cookie = second(cookies, Client(new_key()))
    cookies.turn()
    assert cookies.verified(HERE, with_cookie) is not None
    cookies.turn()
    assert cookies.verified(HERE, with_cookie) is None


def test_no_answer_is_longer_than_what_it_answers(cookies: Cookies) -> None:
    dice, first = random.Random(3), hello(Client(new_key()))
    asked = [
        first,
        first[:SHORTEST_HELLO],
        first[: SHORTEST_HELLO - 1],
        b"",
        b"\x16",
        bytes(1_000),
        b"\x16\xfe\xfd" * 99,
    ]
    asked += [first[: dice.randrange(len(first))] for _ in range(50)] + [dice.randbytes(90) for _ in range(50)]
    for _ in range(300):
        changed = bytearray(first)
        changed[dice.randrange(60)] = dice.randrange(256)
        asked.append(bytes(changed))
    answered = 0
    for each in asked:
        answer = cookies.question(HERE, each)
        assert len(answer or b"") <= len(each)
        assert cookies.verified(HERE, each) is None
        answered += answer is not None
    assert 0 < answered < len(asked)


def test_what_is_no_whole_first_hello_gets_no_answer(cookies: Cookies) -> None:
    first = hello(Client(new_key()))
    assert is_hello(first)
    for at, value in ((0, 23), (0, 21), (1, 3), (4, 1), (13, 2), (16, 255), (21, 1), (24, 255)):
        assert cookies.question(HERE, first[:at] + bytes([value]) + first[at + 1 :]) is None, at


def test_spoofed_hellos_cost_no_session_and_no_signature() -> None:
    """As a doorway does it: no session before `verified`. Control: without that, each costs a signature."""
    service = Service()
    spoofed = [hello(Client(service.device)) for _ in range(20)]
    sessions = []
    for number, each in enumerate(spoofed):
        assert service.cookies.question(str(number).encode(), each) is not None
        if service.cookies.verified(str(number).encode(), each) is not None:
            sessions.append(Session(service.credentials, service.pins))
    assert (sessions, service.signer.asked, service.pins.asked) == ([], 0, 0)
    for each in spoofed:
        Session(service.credentials, service.pins).feed(each)
    assert service.signer.asked == 20


def test_a_hello_with_a_cookie_that_comes_again_opens_a_session_in_which_nobody_can_go_on(cookies: Cookies) -> None:
    """Whoever repeats it from the same address has not the client's half of the key agreement."""
    service = Service()
    client = Client(service.device)
    meeting = Meeting(client, service.session(client))
    assert meeting.run().through
    replaying = Client(service.device)
    session = service.session(replaying)
    other = Meeting(client, session)
    client.inbox.extend(session.outgoing())
    other.carry()
    assert not session.established
