"""How much and how long a request body may be, decided before anybody parses it (ASGI). Never looks inside a body."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.messages import error_answer
from trust.codes import Code

MAX_BODY_BYTES = 65_536
BODY_TIMEOUT_S = 20.0
_DRAIN_BYTES = 16 * MAX_BODY_BYTES


class _TooLargeError(Exception):
    """More than MAX_BODY_BYTES came, or were announced."""


class BodyLimit:
    """Takes in the whole body first: 413 beyond 65,536 bytes, 400 if it does not arrive in time."""

    def __init__(self, app: ASGIApp, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its body complete."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _whole_body(receive)
        except _TooLargeError:
            refusal = error_answer(Code.TOO_LARGE, f"a request body takes at most {MAX_BODY_BYTES} bytes")
            await Response(refusal, 413, media_type="application/json")(scope, receive, send)
        except TimeoutError:
            refusal = error_answer(
                Code.MALFORMED, f"the body did not arrive within {self._timeout_s:g} s: send it at once"
            )
            await Response(refusal, 400, {"connection": "close"}, "application/json")(scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)


async def _whole_body(receive: Receive) -> bytes | None:
    """The body; None if the client went away. Reads up to 1 MiB, so that the client sees the refusal."""
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= _DRAIN_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        raise _TooLargeError
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
