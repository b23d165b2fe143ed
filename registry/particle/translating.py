"""Refusals of the guard, the limits and the database in the door's own words (ASGI), on the door's paths alone.

The one place for all of them: what refuses need not know who asks. Changes no status, and no answer that is not a
refusal of this API.
"""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.messages import ErrorAnswer
from registry.particle.words import ParticleRefusal, error_of

PATHS = ("/v1/provisioning/", "/v1/access_tokens/")
_REFUSED = 400


class Translating:
    """Turns `{"error": {"code", "message"}}` into `{"error", "error_description", "code"}`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; keep a refusal's head until its body is there."""
        if scope["type"] != "http" or not scope["path"].startswith(PATHS):
            await self._app(scope, receive, send)
            return
        head: Message | None = None
        body = b""

        async def said(message: Message) -> None:
            nonlocal head, body
            if message["type"] == "http.response.start" and message["status"] >= _REFUSED:
                head = message
            elif head is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send(send, head, translated(body))

        await self._app(scope, receive, said)


def translated(body: bytes) -> bytes:
    """A refusal of this API in the door's words; anything else as it is."""
    try:
        error = msgspec.json.decode(body, type=ErrorAnswer).error
    except msgspec.DecodeError:
        return body
    made = ParticleRefusal(error=error_of(error.code), error_description=error.message, code=error.code)
    return msgspec.json.encode(made)


async def _send(send: Send, head: Message, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    headers = [each for each in head["headers"] if each[0].lower() != b"content-length"]
    await send({**head, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
