"""How long one connection may take (TLS handshake, a request's head, reading an answer), and what is no HTTP at all.

A body's time is `registry.limits`'s, an idle connection's and that of the end of the process uvicorn's. Never looks at
what is asked, and never waits for a client: one that is too slow loses its connection. What h11 cannot read as a
request is refused in the API's own shape.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol, RequestResponseCycle

from registry.messages import error_answer
from trust.codes import Code

_log = logging.getLogger(__name__)
HANDSHAKE_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0  # from a connection's start or a head's first byte
SEND_TIMEOUT_S = 10.0  # while so much is unread that no more is sent
REST_TIMEOUT_S = 20.0  # the rest of a body whose request is answered already
_HEAD, _READING, _REST = "a request's head", "reading what was answered", "the rest of a request"
_ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)
_HEAD_TOO_LARGE = 431


class BoundedConnection(H11Protocol):
    """uvicorn's connection, with the time limits that it lacks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._clocks: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """From now on the first head is waited for."""
        super().connection_made(transport)
        self._start(_HEAD, HEAD_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """Take it in; the clock runs while a head is not complete."""
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self._start(_REST, REST_TIMEOUT_S)
        else:
            self._stop(_REST)
        if self.conn.their_state is not h11.IDLE:
            self._stop(_HEAD)
        elif self.timeout_keep_alive_task is None:  # else its clock runs
            self._start(_HEAD, HEAD_TIMEOUT_S)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._start(_READING, SEND_TIMEOUT_S)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stop(_READING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        for each in tuple(self._clocks):
            self._stop(each)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, with h11's status for it: called by uvicorn while it handles h11's error."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state not in _ANSWERABLE:  # in the middle of an answer
            self.transport.abort()
            return
        at_work: RequestResponseCycle | None = self.cycle
        if at_work is not None and not at_work.response_complete:  # whose body this was: it gets no other answer
            at_work.disconnected = True
            at_work.message_event.set()
        if status == _HEAD_TOO_LARGE:
            body = error_answer(Code.TOO_LARGE, "the head of the request is too large: send fewer or shorter headers")
        else:
            body = error_answer(Code.MALFORMED, f"{msg} What came is not HTTP/1.1: correct the client")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start(self, what: str, limit_s: float) -> None:
        """Start this clock unless it runs: what comes in drips must not renew it."""
        if what not in self._clocks:
            self._clocks[what] = self.loop.call_later(limit_s, self._too_slow, what, limit_s)

    def _stop(self, what: str) -> None:
        clock = self._clocks.pop(what, None)
        if clock is not None:
            clock.cancel()

    def _too_slow(self, what: str, limit_s: float) -> None:
        _log.info("connection dropped: a step of it took too long", extra={"part": what, "limit_s": limit_s})
        self.transport.abort()


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose TLS servers give up a handshake in our time: uvicorn has no setting for it.

    `secure`, where it is set, takes over what comes before and with TLS: given what makes a connection and the TLS
    context, it makes what accepted connections are first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secure: Callable[[Callable[[], Any], ssl.SSLContext], Callable[[], asyncio.BaseProtocol]] | None = None

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> asyncio.Server:
        """As asyncio's; the connections that it accepts have the limit."""
        context = options.get("ssl")
        if context is not None and self.secure is not None:
            options["ssl"] = None
            return await super().create_server(self.secure(protocol_factory, context), *args, **options)
        limit_s = None if context is None else HANDSHAKE_TIMEOUT_S
        return await super().create_server(protocol_factory, *args, ssl_handshake_timeout=limit_s, **options)
