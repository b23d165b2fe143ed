"""How the device service is, and what it counts: health, metrics and their own address. Changes nothing it looks at."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from registry.database import Database
from registry.device_service.field.ports import Doors
from registry.device_service.relay.desk import Desk
from registry.failures import STORE_FAILED
from registry.serving import listen
from registry.settings import Home, SetupError
from registry.signing import Signing
from registry.telemetry.devices import DeviceMetrics
from registry.telemetry.health import Health, Question
from registry.telemetry.listener import Beside
from trust.codes import Code
from trust.printable import plainly

_OPTIONS: Final = "--metrics-host or --metrics-port"


@dataclass(frozen=True, slots=True)
class Metered:
    """The metrics' own address."""

    beside: Beside
    context: ssl.SSLContext

    @classmethod
    def at(cls, home: Home, address: tuple[str, int], app: ASGIApp) -> Metered:
        """Bound, not answering yet; SetupError if the address or, where TLS is due, its key cannot be had."""
        beside = Beside(app=app, listening=listen(*address, _OPTIONS))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if not beside.plain:
            try:
                context.load_cert_chain(home.tls_certificate, home.tls_key)
            except (OSError, ssl.SSLError) as error:
                raise SetupError(f"TLS key {home.tls_key}: {plainly(error)}: metrics are TLS there") from error
        return cls(beside, context)

    async def start(self) -> None:
        """Answer from now on."""
        await self.beside.start(ServerState(), self.context)


def show(metrics: DeviceMetrics, desk: Desk, doors: Doors) -> None:
    """Let the metrics show what others know."""
    metrics.gauge("relayed", "Handshakes that stations carry now.", lambda: len(desk))
    tcp, udp = doors.tcp, doors.udp
    if tcp is not None:
        metrics.gauge("tcp_connections", "There are now.", lambda: tcp.open)
        metrics.gauge("tcp_sessions", "Of them proved.", lambda: tcp.sessions)
    if udp is not None:
        metrics.gauge("udp_clients", "Addresses that have a session or a handshake now.", lambda: len(udp))
        metrics.gauge("udp_half_open", "Handshakes under way.", lambda: udp.half_open)
        metrics.gauge("udp_sessions", "Proved.", lambda: udp.sessions)


def health_of(database: Database, signing: Signing) -> Health:
    """Whether the database answers and the signer signs, each looked at by itself."""

    def answers() -> bool:
        try:
            database.require_answer()
        except STORE_FAILED:
            return False
        return True

    looked_at: Mapping[str, tuple[Question, Code]] = {
        "database": (answers, Code.STORE_FAILED),
        "signer": (lambda: not signing.trouble(), Code.TOKEN_UNAVAILABLE),
    }
    return Health(looked_at)


@contextmanager
def watched(health: Health) -> Iterator[None]:
    """Look while the block runs."""
    health.watch()
    try:
        yield
    finally:
        health.end()
