"""Each request counted for the address that it comes from, before its body is taken in (ASGI): 429 when it is too many.

Whose credentials did not hold has used up more than who asked in order: 401 anywhere, any refusal where secrets are
judged. Never looks at what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.limits.rates import Limits, RouteClass
from registry.messages import error_answer
from trust.codes import Code

_TOO_MANY, _NOBODY = 429, 401
_REFUSED = (400, 401, 403)


class AddressLimit:
    """Lets through what one address may ask."""

    def __init__(self, app: ASGIApp, limits: Limits, secret: Collection[str] = ()) -> None:
        """`secret` are the declared paths of routes where secrets are judged."""
        self._app = app
        self._limits = limits
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or say when to come again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = client_host(scope)
        wait_s = self._limits.address(host)
        if wait_s > 0:
            await too_many(wait_s)(scope, receive, send)
            return

        async def judged(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._judge(scope, host, message["status"])
            await send(message)

        await self._app(scope, receive, judged)

    def _judge(self, scope: Scope, host: str, status: int) -> None:
        if getattr(scope.get("route"), "path", None) in self._secret:
            if status in _REFUSED:
                self._limits.strike(host, RouteClass.SECRET)
        elif status == _NOBODY:
            self._limits.strike(host)


def client_host(scope: Scope) -> str:
    """The address that a request comes from; empty if the server does not know."""
    client = scope.get("client")
    return client[0] if client else ""


def too_many(wait_s: float) -> Response:
    """The refusal, with the seconds after which the same request is taken (RFC 6585 §4, RFC 9110 §10.2.3)."""
    after_s = max(1, math.ceil(wait_s))
    body = error_answer(Code.TOO_MANY_REQUESTS, f"too many requests: send this again in {after_s} s")
    return Response(body, _TOO_MANY, {"retry-after": str(after_s)}, "application/json")
