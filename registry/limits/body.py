"""How much a request may be, and how long its body may take, decided before anybody parses it (ASGI).

Never looks inside a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.messages import error_answer
from trust.codes import Code

MAX_HEAD_BYTES = 16_384  # h11 stops at it, too, where a head comes in pieces
MAX_BODY_BYTES = 65_536
BODY_TIMEOUT_S = 20.0
_DRAIN_BYTES = 1_048_576
_NONE: Mapping[str, int] = MappingProxyType({})


class _TooLargeError(Exception):
    """More came than may."""


class BodyLimit:
    """Takes in the whole body first: 413 beyond 65,536 bytes, 400 if it does not arrive in time; 431 for a long head.

    `larger`: paths whose bodies may have more bytes than others.
    """

    def __init__(self, app: ASGIApp, timeout_s: float = BODY_TIMEOUT_S, larger: Mapping[str, int] = _NONE) -> None:
        self._app = app
        self._timeout_s = timeout_s
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its body complete."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _head_bytes(scope) > MAX_HEAD_BYTES:
            refusal = error_answer(Code.TOO_LARGE, f"the head of a request takes at most {MAX_HEAD_BYTES} bytes")
            await Response(refusal, 431, media_type="application/json")(scope, receive, send)
            return
        limit = self._larger.get(scope.get("path", ""), MAX_BODY_BYTES)
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _whole_body(receive, limit)
        except _TooLargeError:
            refusal = error_answer(Code.TOO_LARGE, f"a request body takes at most {limit} bytes here")
            await Response(refusal, 413, media_type="application/json")(scope, receive, send)
        except TimeoutError:
            refusal = error_answer(
                Code.MALFORMED, f"the body did not arrive within {self._timeout_s:g} s: send it at once"
            )
            await Response(refusal, 400, {"connection": "close"}, "application/json")(scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)


async def _whole_body(receive: Receive, limit: int) -> bytes | None:
    """The body; None if the client went away. Reads up to 1 MiB, so that the client sees the refusal."""
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= max(limit, _DRAIN_BYTES):
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        more = message.get("more_body", False)
    if size > limit:
        raise _TooLargeError
    return b"".join(parts)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return len(scope.get("raw_path", b"")) + len(scope.get("query_string", b"")) + headers


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
