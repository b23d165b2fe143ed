"""The device service's process: checked, then served until SIGTERM. Never decides about a device.

Blocking work is done in threads, the bench's in its own, so that whoever floods the field keeps no line from working.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from hsm.client import HandshakeClient, ReceiptClient
from hsm.signer import HandshakeKeys, SignerError, SignerUnavailableError
from registry.device_service.field.ports import Doors, opened
from registry.device_service.keys import Lines
from registry.device_service.parts import Parts, made
from registry.device_service.relay.desk import Begin, Desk, Room
from registry.device_service.relay.listening import listening
from registry.device_service.relay.server import RelayServer
from registry.device_service.relay.tcp_bench import TcpBench
from registry.device_service.relay.udp_bench import UdpBench
from registry.device_service.telling import Metered, health_of, show, watched
from registry.device_service.work import threads
from registry.opening import open_database
from registry.roots import require_newest
from registry.settings import FILE, Home, SetupError
from registry.signing import Signing
from registry.startup import load_root, own_version, require_own_root, require_signer
from registry.telemetry.devices import DeviceMetrics
from registry.telemetry.door import telemetry_app
from trust.codes import Code

_SIGNER_S: Final = 5.0
_STATUS_S: Final = 2.0
_NO_MESSAGE, _NO_NONCE = 256, 40  # zeros, which nobody has encrypted: refused, whoever asks


def run(home: Home, root: Path, say: Callable[[str], None], *, telemetry: tuple[str, int] | None = None) -> None:
    """Check everything, then serve until SIGTERM; SetupError if something does not fit.

    `telemetry` is the address of the metrics, if they are wanted.
    """
    if home.relay_socket is None:
        raise SetupError(f"relay_socket in {home.directory / FILE} is empty: name the socket where to listen")
    trusted = load_root(root)
    require_own_root(home.config, trusted)
    config = home.config.devices
    metrics = DeviceMetrics(version=own_version(), environment=trusted.root.environment)
    with (
        contextlib.closing(ReceiptClient(home.signer_socket)) as signer,
        contextlib.closing(ReceiptClient(home.signer_socket, timeout_s=_STATUS_S)) as status,
    ):
        require_signer(home, trusted, signer)
        with _lines(home, 2 * config.workers) as keys, contextlib.closing(open_database(home)) as database:
            require_handshakes(keys)
            require_newest(database, trusted)
            parts = made(home.config, database, trusted, signer, keys)
            health = health_of(database, Signing(status, trusted))
            beside = None if telemetry is None else Metered.at(home, telemetry, telemetry_app(metrics, health))
            with listening(home.relay_socket) as bound, watched(health):
                where = f"{home.relay_socket}, {trusted.root.environment}, root {trusted.sha256}"
                text = f"ready: devices of {trusted.root.registry} at {where}"
                asyncio.run(serve(parts, bound, metrics, lambda doors: _say(say, text, doors, beside), beside))


def require_handshakes(keys: HandshakeKeys) -> None:
    """SetupError where the signer lets this user have no handshakes: each unit and device would find that anew."""
    try:
        keys.tcp_open(bytes(_NO_MESSAGE), bytes(_NO_NONCE))
    except SignerUnavailableError as error:
        raise SetupError(f"the cloud signer does not answer any more: {error}") from error
    except SignerError as error:
        if error.code is Code.NOT_AUTHORISED:
            raise SetupError(str(error)) from error


def desk_of(parts: Parts, work: Executor, looking: Executor, metrics: DeviceMetrics) -> Desk:
    """The relay's, over these parts. `looking` are threads for pins: a database that hangs holds up nothing else."""
    config = parts.config
    begin: dict[str, Begin] = {
        "tcp": partial(TcpBench, reporter=parts.reporter, work=work),
        "udp": partial(
            UdpBench, reporter=parts.reporter, work=work, credentials=parts.credentials, repeated=parts.seen.repeated
        ),
    }
    room = Room(most=config.relay_sessions, of_a_station=config.relay_sessions_of_a_station)
    return Desk(
        parts.pins, begin, looking, cloud=parts.reporter.cloud, room=room,
        ended=lambda protocol, how: metrics.handshake(protocol, "relay", how),
    )  # fmt: skip


async def serve(
    parts: Parts,
    bound: socket.socket,
    metrics: DeviceMetrics,
    ready: Callable[[Doors], None],
    beside: Metered | None = None,
) -> None:
    """Until SIGTERM or SIGINT; what is under way then is dropped, and begun anew by whoever it was for."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    allowed = {os.geteuid(), *parts.config.relay_uids}
    async with threads(parts.config.workers, "bench", "field", "pins") as (bench, field, looking):
        desk = desk_of(parts, bench, looking, metrics)
        with contextlib.closing(desk):
            async with RelayServer(desk, allowed).serving(bound), opened(parts, field, metrics) as doors:
                show(metrics, desk, doors)
                if beside is not None:
                    await beside.start()
                ready(doors)
                await stopped.wait()


def _say(say: Callable[[str], None], text: str, doors: Doors, beside: Metered | None) -> None:
    for each in doors.said:
        say(f"listening: {each}")
    if beside is not None:
        say(f"metrics: {beside.beside.url}/metrics")
    say(text)


@contextmanager
def _lines(home: Home, many: int) -> Iterator[Lines]:
    found = [HandshakeClient(home.signer_socket, timeout_s=_SIGNER_S) for _ in range(many)]
    try:
        yield Lines(found)
    finally:
        for each in found:
            each.close()
