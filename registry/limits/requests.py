"""Each request counted for the address that it comes from, before its body is taken in (ASGI): 429 when it is too many.

Whose credentials did not hold has used up more than who asked in order: 401 anywhere, any refusal where secrets are
judged. Who was let in a short while ago is counted by name only, so that no stranger at the same address stops a line.
Never looks at what is asked.
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

    def __init__(
        self, app: ASGIApp, limits: Limits, secret: Collection[str] = (), signed: Collection[str] = ()
    ) -> None:
        """Declared paths: `secret` of routes where secrets are judged, `signed` where a signature says who asks."""
        self._app = app
        self._limits = limits
        self._secret = secret
        self._signed = signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or say when to come again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = client_host(scope)
        wait_s = self._limits.address(host)
        if wait_s > 0 and not self._is_no_stranger(scope, host):
            await too_many(wait_s)(scope, receive, send)
            return

        async def judged(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._judge(scope, host, message["status"])
            await send(message)

        await self._app(scope, receive, judged)

    def _is_no_stranger(self, scope: Scope, host: str) -> bool:
        """Whether he has shown who he is a short while ago, or may be about to."""
        if scope["path"] in self._signed:
            return self._limits.signed(host)
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(shown) == 1 and self._limits.admitted.knows(shown[0].decode("latin-1"))

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
