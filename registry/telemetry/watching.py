"""Each request measured and counted, and each refusal told in the diagnostics (ASGI). Never changes an answer.

A request is told of by its declared route, never by its path; by status, code and time, never by what was in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.limits.buckets import Buckets, Rate
from registry.telemetry.metrics import METHODS, OTHER, Metrics
from trust.codes import Code

_log = logging.getLogger(__name__)
_REFUSED, _TOO_MANY, _FAILED = 400, 429, 500
_LINES = Rate(20, 200)  # of refusals; a flood of them is for the metrics to show


class _Detail(msgspec.Struct, frozen=True):
    code: Code


class _Refusal(msgspec.Struct, frozen=True):
    error: _Detail


class _Worded(msgspec.Struct, frozen=True):
    """OAuth's form, and the Particle-compatible door's: `error` is theirs."""

    error: str
    code: Code


class Watching:
    """Outermost: what limits refuse is measured, too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._metrics = metrics
        self._monotonic = monotonic
        self._lines = Buckets(1, monotonic=monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and look at its answer as it goes out."""
        if scope["type"] != "http" or scope.get("client") is None:  # nobody's: the registry's own first look-up
            await self._app(scope, receive, send)
            return
        began = self._monotonic()
        status, body = 0, b""

        async def seen(message: Message) -> None:
            nonlocal status, body
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= _REFUSED:
                body += message.get("body", b"")
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            if status:  # else the client left before there was an answer
                self._tell(scope, status, body, self._monotonic() - began)

    def _tell(self, scope: Scope, status: int, body: bytes, seconds: float) -> None:
        route, method = declared(scope), scope["method"]
        self._metrics.answered(route, method, status, seconds)
        if status < _REFUSED:
            return
        code = _code(body)
        if code is not None:
            self._metrics.refused(code)
        ordinary = status == _TOO_MANY or code is Code.NOT_PINNED  # what each new unit gets
        if ordinary or (status < _FAILED and self._lines.take(("refusals",), _LINES) > 0):
            return
        told = {
            "route": route,
            "method": method if method in METHODS else OTHER,
            "status": status,
            "code": None if code is None else code.value,
            "ms": round(seconds * 1000, 1),
        }
        _log.log(logging.WARNING if status >= _FAILED else logging.INFO, "request refused", extra=told)


def declared(scope: Scope) -> str:
    """The route as it is declared, with its parameters' names; OTHER if there is none."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else OTHER


def _code(body: bytes) -> Code | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(body, type=_Refusal).error.code
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(body, type=_Worded).code
    return None
