"""An answer leaves in one piece, in order, also when the connection closes after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from registry.warming import look_up_once
from registry.whole_answers import Gathering


class Line(asyncio.Transport):
    """A transport that notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes | str] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.seen.append(bytes(data))

    def close(self) -> None:
        self.closing = True
        self.seen.append("closed")

    def abort(self) -> None:
        self.closing = True
        self.seen.append("aborted")

    def is_closing(self) -> bool:
        return self.closing


def written(*turns: list[bytes | str]) -> list[bytes | str]:
    """What reaches the line when each list is written in a turn of its own."""

    async def run() -> list[bytes | str]:
        line = Line()
        gathering = Gathering(line, asyncio.get_running_loop())
        for turn in turns:
            for each in turn:
                match each:
                    case "close":
                        gathering.close()
                    case "abort":
                        gathering.abort()
                    case "lose":
                        line.closing = True
                    case bytes():
                        gathering.write(each)
            await asyncio.sleep(0)
        return line.seen

    return asyncio.run(run())


def test_head_and_body_are_one_piece() -> None:
    assert written([b"head", b"body"], [], [b"next"]) == [b"headbody", b"next"]


def test_what_was_written_goes_out_before_a_close() -> None:
    assert written([b"head", b"body", "close"]) == [b"headbody", "closed"]


@pytest.mark.parametrize("end", ["abort", "lose"])
def test_nothing_is_sent_on_a_line_that_is_lost(end: str) -> None:
    assert b"head" not in written([b"head", end], [])


def test_control_the_line_by_itself_sends_two_pieces() -> None:
    line = Line()
    line.writelines([])
    for each in (b"head", b"body"):
        line.write(each)
    assert [each for each in line.seen if each] == [b"head", b"body"]


@pytest.mark.parametrize(("status", "well"), [(200, True), (404, True), (500, False), (503, False)])
def test_the_look_up_before_ready_says_whether_it_was_answered(status: int, well: bool) -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert asyncio.run(look_up_once(app)) is well
    assert asked == ["/v1/pins/000000000000000000000001"]
