"""Serving HTTPS: one process, one event loop, until SIGTERM. Never speaks plain HTTP and never TLS below 1.2.

No client keeps it from ending: it is waited for until the time of grace is over, or a second signal comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from hsm.client import ReceiptClient
from hsm.signer import ReceiptSigner
from registry.alone import alone
from registry.behind import Balancers, Door, Header
from registry.connection import BoundedConnection, Loop
from registry.limits.body import MAX_HEAD_BYTES
from registry.rights import warning
from registry.settings import FILE, Home, SetupError
from registry.startup import Ready, load_root, open_registry
from registry.telemetry.door import telemetry_app
from registry.telemetry.listener import Beside, is_loopback
from registry.warming import look_up_once
from trust.printable import plainly

_log = logging.getLogger(__name__)
_KEEP_ALIVE_S = 30  # longer than stations keep an idle connection, so that we never close one being used
_GRACE_S = 10
_STATUS_S = 2.0  # whether the signer answers is told sooner than a station gives up
_METRICS = "--metrics-host or --metrics-port"
_HTTPS = 443
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and AEAD only; 1.3 has nothing else


class _Server(uvicorn.Server):
    """A server that says when it takes connections, has then answered once already, and drops them to end in time."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], beside: Beside | None, balancers: Balancers
    ) -> None:
        super().__init__(config)
        self._balancers = balancers
        self._handshakes: set[asyncio.Task[None]] = set()
        self._ready = ready
        self._beside = beside
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        self._loop = asyncio.get_running_loop()
        if self._balancers.networks and isinstance(self._loop, Loop):
            self._loop.secure = self._behind
        await super().startup(sockets=sockets)
        if isinstance(self._loop, Loop):
            self._loop.secure = None  # nothing but the API is behind them
        if self._beside is not None and self.config.ssl is not None:
            self.servers.append(await self._beside.start(self.server_state, self.config.ssl))
        if not await look_up_once(self.config.loaded_app):
            _log.warning("a look-up failed: this registry takes connections, and its database does not answer")
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends the work when what is under way is answered, the second at once."""
        if self.should_exit and self._loop is not None:
            self._loop.call_soon_threadsafe(self._drop)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End within the time of grace; who has not read its answer by then gets none."""
        await super().shutdown(sockets=sockets)
        self._drop()
        await asyncio.sleep(0)  # so that requests see their connection gone before the loop cancels them

    def _behind(self, made: Callable[[], BoundedConnection], context: ssl.SSLContext) -> Callable[[], Header]:
        door = Door(balancers=self._balancers, context=context, connection=made, at_work=self._handshakes)
        return door.knock

    def _drop(self) -> None:
        for task in tuple(self._handshakes):
            task.cancel()
        for each in tuple(self.server_state.connections):
            each.transport.abort()


def run(
    home: Home,
    root: Path,
    signer: ReceiptSigner,
    address: tuple[str, int],
    say: Callable[[str], None],
    *,
    telemetry: tuple[str, int] | None = None,
) -> None:
    """Check everything, then serve at (host, port) until SIGTERM; SetupError if something does not fit.

    `telemetry` is the address of metrics and health, if they are wanted at one of their own.
    """
    trusted = load_root(root)
    with alone(home):
        ready = open_registry(home, trusted, signer, asked=ReceiptClient(home.signer_socket, timeout_s=_STATUS_S))
        try:
            listening, beside = listen(*address), _beside(ready, telemetry)
            host, port = listening.getsockname()[:2]
            status = ready.status
            text = f"ready: {status.registry} at {host} port {port}, {status.environment}, root {status.root_sha256}"
            elsewhere = not_there(trusted.root.registry_url, host, port)
            told = "" if beside is None else f"metrics: {beside.url}/metrics"
            warnings = elsewhere, warning(ready.database.engine), no_relay(home)
            ready.health.watch()
            serve(ready.app, home, listening, lambda: _say_all(say, text, *warnings, told), beside)
        finally:
            ready.health.end()
            ready.database.close()


def _beside(ready: Ready, telemetry: tuple[str, int] | None) -> Beside | None:
    if telemetry is None:
        return None
    return Beside(app=telemetry_app(ready.metrics, ready.health), listening=listen(*telemetry, _METRICS))


def _say_all(say: Callable[[str], None], *lines: str) -> None:
    for each in filter(None, lines):
        say(each)


def not_there(url: str, host: str, port: int) -> str:
    """A warning if stations, which take the registry's address from the trust root, would not come here; else empty.

    Behind a proxy or a forwarded port they do come: whoever set that up knows.
    """
    wanted = urlsplit(url)
    if (wanted.port or _HTTPS) != port:
        return f"warning: stations go to {url}, by the trust root, and this listens on port {port}: see to --port"
    if is_loopback(host) and not is_loopback(wanted.hostname or ""):
        return f"warning: stations go to {url}, by the trust root, and this listens on {host} only: see to --host"
    return ""


def no_relay(home: Home) -> str:
    """A warning if no unit at a bench can meet the cloud by these settings; else empty.

    Such a registry is like one whose device service is away for ever: orders may let units pass then.
    """
    if home.relay_socket is not None:
        return ""
    return (
        f"warning: relay_socket in {home.directory / FILE} is empty: no unit at a bench meets the cloud; units are "
        'held, or pass WAIVED where their order lets service-away stand: write "run/devices.sock" there, and start '
        "station-registry devices"
    )


def listen(host: str, port: int, options: str = "--host or --port") -> socket.socket:
    """A listening socket; port 0 takes a free one. SetupError, with the options that name it, for one not to be had."""
    try:
        listening = socket.create_server((host, port), family=_family(host, port))
    except OSError as error:
        raise SetupError(f"cannot listen on {host} port {port}: {error.strerror}: choose another {options}") from error
    # Accepted sockets inherit it; asyncio sets it only where the protocol number was given. An answer goes out in two
    # segments: without this the second waits 40 ms for the client's delayed acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(
    app: ASGIApp, home: Home, listening: socket.socket, ready: Callable[[], None], beside: Beside | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests in work are finished first, for at most 10 s."""
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        loop=f"{Loop.__module__}:{Loop.__qualname__}",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ssl_certfile=home.tls_certificate,
        ssl_keyfile=home.tls_key,
        ssl_ciphers=_CIPHERS,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SetupError(
            f"TLS key {home.tls_key} and certificate cannot be used: {plainly(error)}: restore both"
        ) from error
    if config.ssl is None:
        raise SetupError("TLS is not set up")
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    config.ssl.options |= ssl.OP_NO_RENEGOTIATION
    config.ssl.num_tickets = 0  # stations keep their connections and resume none: two tickets each would be for nobody
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)  # uvicorn raises the signal again when it has finished: that is a clean end here
    with contextlib.closing(listening):
        _Server(config, ready, beside, balancers_of(home)).run(sockets=[listening])


def balancers_of(home: Home) -> Balancers:
    """Whose PROXY headers are believed, by the configuration; SetupError."""
    try:
        return Balancers.parse(home.config.balancers)
    except ValueError as error:
        text = f"{home.directory / FILE}: balancers: {plainly(error)}"
        raise SetupError(f"{text}: give addresses or networks, as 192.0.2.7 or 192.0.2.0/28") from error


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]


def _ended(_number: int, _frame: FrameType | None) -> None:
    """Nothing left to do."""
