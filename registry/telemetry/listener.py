"""The telemetry's own address beside the API's, in the same event loop. Plain HTTP on this machine only, TLS elsewhere.

Never takes more than a look: bodies are not read, connections have the API's time limits.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from registry.connection import BoundedConnection
from registry.limits.body import MAX_HEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """An application and the socket where it is served."""

    app: ASGIApp
    listening: socket.socket

    @property
    def plain(self) -> bool:
        """Whether nobody but this machine can come there."""
        return is_loopback(self.listening.getsockname()[0])

    @property
    def url(self) -> str:
        """Where it is, as a person would type it."""
        host, port = self.listening.getsockname()[:2]
        return f"{'http' if self.plain else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"

    async def start(self, state: ServerState, context: ssl.SSLContext) -> asyncio.Server:
        """Take connections from now on."""
        config = uvicorn.Config(
            self.app, http=BoundedConnection, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )  # fmt: skip
        config.load()

        def connection() -> BoundedConnection:
            return BoundedConnection(config, state, {})

        loop = asyncio.get_running_loop()
        return await loop.create_server(connection, sock=self.listening, ssl=None if self.plain else context)


def is_loopback(host: str) -> bool:
    """Whether this address is the machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
