"""How long one connection may take: its TLS handshake, each request's head, and reading what it is answered.

A body's time is `registry.limits`'s, an idle connection's and that of the end of the process uvicorn's. Never looks at
what is asked, and never waits for a client: one that is too slow loses its connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)
HANDSHAKE_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0  # from a connection's start or a head's first byte
SEND_TIMEOUT_S = 10.0  # while so much is unread that no more is sent
_HEAD, _READING = "a request's head", "reading what was answered"


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
        self._stop(_HEAD)
        self._stop(_READING)
        super().connection_lost(exc)

    def _start(self, what: str, limit_s: float) -> None:
        """Start this clock unless it runs: what comes in drips must not renew it."""
        if what not in self._clocks:
            self._clocks[what] = self.loop.call_later(limit_s, self._too_slow, what, limit_s)

    def _stop(self, what: str) -> None:
        clock = self._clocks.pop(what, None)
        if clock is not None:
            clock.cancel()

    def _too_slow(self, what: str, limit_s: float) -> None:
        _log.info("connection dropped: %s took more than %g s", what, limit_s)
        self.transport.abort()


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose TLS servers give up a handshake in our time: uvicorn has no setting for it."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """As asyncio's; the connections that it accepts have the limit."""
        return await super().create_server(*args, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S, **options)
