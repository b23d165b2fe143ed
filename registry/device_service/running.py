"""The device service's process: what it needs put together, and served until SIGTERM. Never decides about a device.

Blocking work is done in threads, the bench's in its own, so that whoever floods the field keeps no line from working.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from hsm.client import HandshakeClient, ReceiptClient
from hsm.signer import HandshakeKeys, ReceiptSigner
from registry.clock import utc_now
from registry.database import Database
from registry.device_service.keys import Lines
from registry.device_service.pins import RegistryPins
from registry.device_service.relay.desk import Begin, Desk, Room
from registry.device_service.relay.listening import listening
from registry.device_service.relay.server import RelayServer
from registry.device_service.relay.tcp_bench import TcpBench
from registry.device_service.relay.udp_bench import UdpBench
from registry.device_service.relay.word import Reporter
from registry.device_service.udp.gnutls.credentials import Credentials, CredentialsError
from registry.device_service.udp.gnutls.library import Library, LibraryError
from registry.opening import open_database
from registry.roots import require_newest
from registry.settings import FILE, DevicesConfig, Home, SetupError
from registry.startup import load_root, require_own_root, require_signer
from trust.root import TrustedRoot

_SIGNER_S: Final = 3.0
_PURPOSES: Final = {"tcp": "cloud-tcp", "udp": "cloud-udp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every way in shares. `credentials` are the UDP service's."""

    config: DevicesConfig
    pins: RegistryPins
    reporter: Reporter
    credentials: Credentials


def run(home: Home, root: Path, say: Callable[[str], None]) -> None:
    """Check everything, then serve until SIGTERM; SetupError if something does not fit."""
    if home.relay_socket is None:
        raise SetupError(f"relay_socket in {home.directory / FILE} is empty: name the socket where to listen")
    trusted = load_root(root)
    require_own_root(home.config, trusted)
    signer = ReceiptClient(home.signer_socket)
    require_signer(home, trusted, signer)
    config = home.config.devices
    with _lines(home, 2 * config.workers) as keys, contextlib.closing(open_database(home)) as database:
        require_newest(database, trusted)
        parts = made(config, database, trusted, signer, keys)
        with listening(home.relay_socket) as bound:
            where = f"{home.relay_socket}, {trusted.root.environment}, root {trusted.sha256}"
            asyncio.run(serve(parts, bound, lambda: say(f"ready: devices of {trusted.root.registry} at {where}")))


def made(
    config: DevicesConfig, database: Database, trusted: TrustedRoot, signer: ReceiptSigner, keys: HandshakeKeys
) -> Parts:
    """The parts over a signer that answers; SetupError if a key cannot be used."""
    public = signer.status().keys
    try:
        credentials = Credentials(Library.load(), public[_PURPOSES["udp"]], keys.dtls_sign)
    except (LibraryError, CredentialsError) as error:
        raise SetupError(f"UDP service: {error}") from error
    cloud = {name: hashlib.sha256(public[purpose]).hexdigest() for name, purpose in _PURPOSES.items()}
    reporter = Reporter(trusted=trusted, keys=keys, cloud=cloud, now=utc_now)
    return Parts(
        config=config, pins=RegistryPins(database=database, trusted=trusted), reporter=reporter, credentials=credentials
    )


def desk_of(parts: Parts, work: Executor) -> Desk:
    """The relay's, over these parts."""
    config = parts.config
    begin: dict[str, Begin] = {
        "tcp": partial(TcpBench, reporter=parts.reporter, work=work),
        "udp": partial(UdpBench, reporter=parts.reporter, work=work, credentials=parts.credentials),
    }
    room = Room(most=config.relay_sessions, of_a_station=config.relay_sessions_of_a_station)
    return Desk(parts.pins, begin, work, room=room)


async def serve(parts: Parts, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT; what is under way then is dropped, and begun anew by whoever it was for."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    bench = ThreadPoolExecutor(parts.config.workers, thread_name_prefix="bench")
    desk = desk_of(parts, bench)
    allowed = {os.geteuid(), *parts.config.relay_uids}
    try:
        async with RelayServer(desk, allowed).serving(bound):
            ready()
            await stopped.wait()
    finally:
        desk.close()
        bench.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _lines(home: Home, many: int) -> Iterator[Lines]:
    made = [HandshakeClient(home.signer_socket, timeout_s=_SIGNER_S) for _ in range(many)]
    try:
        yield Lines(made)
    finally:
        for each in made:
            each.close()
