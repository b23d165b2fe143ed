"""What is no HTTP request gets the API's own refusal, by the server itself; control: uvicorn's own words are others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from registry.connection import BoundedConnection

HOST = b"host: registry\r\n"
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "zeros": (b"\x00" * 100, 400, "malformed"),
    "a TLS hello, again": (b"\x16\x03\x01\x02\x00" + b"\x01" * 60 + b"\r\n\r\n", 400, "malformed"),
    "HTTP/0.9": (b"GET /v1/status\r\n\r\n", 400, "malformed"),
    "no host": (b"GET /v1/status HTTP/1.1\r\n\r\n", 400, "malformed"),
    "two hosts": (b"GET /v1/status HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "malformed"),
    "a header without a name": (b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", 400, "malformed"),
    "a header with a zero": (b"GET / HTTP/1.1\r\n" + HOST + b"x: a\x00b\r\n\r\n", 400, "malformed"),
    "a folded first header": (b"GET / HTTP/1.1\r\n x: y\r\n" + HOST + b"\r\n", 400, "malformed"),
    "a path in another alphabet": (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed"),
    "length that is no number": (b"PUT / HTTP/1.1\r\n" + HOST + b"content-length: x\r\n\r\n", 400, "malformed"),
    "two lengths": (b"PUT / HTTP/1.1\r\n" + HOST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", 400, "malformed"),
    "an encoding that is none of ours": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip\r\n\r\n", 501, "malformed"
    ),
    "a chunk of no size": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"
    ),
    "a long path": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "too-large"),
    "a long header": (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 40_000, 431, "too-large"),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 5_000, 431, "too-large"),
}  # fmt: skip


class Line(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.data += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    resume_reading = pause_reading


async def waiting(_scope: Scope, receive: Receive, send: Send) -> None:
    """As a route that takes its whole body first, and then would answer."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def sent_to(kind: type[H11Protocol], *parts: bytes) -> Line:
    async def run() -> Line:
        line, config = Line(), Config(waiting, lifespan="off", log_config=None, h11_max_incomplete_event_size=16_384)
        config.load()
        connection = kind(config, ServerState(), {})
        connection.connection_made(line)
        for part in parts:
            if not line.closed:
                connection.data_received(part)
            for _ in range(5):
                await asyncio.sleep(0)
        connection.connection_lost(None)
        return line

    return asyncio.run(run())


def judged(answer: bytes) -> tuple[int, str]:
    """Status and code, after checking shape, type, length and that the connection ends."""
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in head.decode().split("\r\n"))}
    assert headers["content-type"] == "application/json"
    assert (headers["connection"], int(headers["content-length"])) == ("close", len(body))
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "stored"} and error["message"]
    return int(head.split()[1]), error["code"]


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_the_one_shape(what: str) -> None:
    data, status, code = REFUSED[what]
    line = sent_to(BoundedConnection, *(data[at : at + 8_192] for at in range(0, len(data), 8_192)))
    assert line.closed
    assert judged(line.data) == (status, code)


def test_control_the_servers_own_refusal_would_be_seen() -> None:
    line = sent_to(H11Protocol, REFUSED["zeros"][0])
    with pytest.raises(AssertionError):
        judged(line.data)


def test_a_body_that_breaks_off_into_nonsense_gets_one_answer() -> None:
    """The request is with its route already: that one is told that its client has gone, and says nothing more."""
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n"
    line = sent_to(BoundedConnection, head, b"nonsense\r\n", b"")
    assert judged(line.data) == (400, "malformed")
    assert line.data.count(b"HTTP/1.1 ") == 1
