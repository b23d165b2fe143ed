"""Starting a real registry process over HTTPS, and ending only that one."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry import setup
from registry.settings import RegistryConfig
from tests import warm
from tests.registry.access import StationClient, station_of
from tests.registry.make import World, world
from trust import root_file as roots

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Plant:
    """A registry directory, its world and, while it runs, its process."""

    directory: Path
    made: World
    port: int = 0
    said: list[str] = field(default_factory=list)
    process: warm.Running | subprocess.Popen[str] | None = None

    def telemetry(self) -> str:
        """The telemetry's URL, once it was said; for a plant that was started with METRICS."""
        assert self.process is not None and self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.match(r"metrics: (.*)/metrics$", line):
                return found[1]
        raise AssertionError("".join(self.said))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def tls_root(self) -> bytes:
        return self.made.trusted.root.tls_root

    def start(self, **limits_s: float | str) -> None:
        argv = [
            sys.executable,
            "-m",
            "tests.registry.child",
            *map(str, (self.directory, self.root_file, self.key_file, self.port)),
            *(f"{name}={limit}" for name, limit in limits_s.items()),
        ]
        self.process = warm.start(argv, cwd=REPOSITORY, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.match(r"ready: .* port (\d+),", line):
                self.port = int(found[1])
                return
        raise AssertionError("".join(self.said))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None and self.process.stderr is not None
        self.process.send_signal(number)
        code = self.process.wait(15)  # longer than its time of grace
        self.said += self.process.stderr.readlines()
        self.process.stderr.close()
        self.process = None
        return code

    @property
    def root_file(self) -> Path:
        return self.directory.parent / "root.json"

    @property
    def key_file(self) -> Path:
        return self.directory.parent / "receipt-key.pem"


def make_plant(place: Path, worlds: Callable[..., World] = world) -> Plant:
    """A registry directory as `init` makes it, and a root that names its certificate."""
    home = setup.make(place / "registry", RegistryConfig(name="registry-01", environment="demo"), "localhost")
    made = worlds(tls_root=ssl.PEM_cert_to_DER_cert(home.tls_certificate.read_text()))
    plant = Plant(home.directory, made)
    plant.root_file.write_bytes(roots.wrap(made.trusted.root).to_json())
    plant.key_file.write_bytes(made.receipt_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return plant


@contextmanager
def plant_at(place: Path) -> Iterator[Plant]:
    """A plant whose process, if one runs at the end, is ended: a test that fails leaves nothing behind."""
    plant = make_plant(place)
    try:
        yield plant
    finally:
        if plant.process is not None:
            plant.process.kill()
            plant.process.communicate(timeout=10)


@contextmanager
def running(place: Path) -> Iterator[Plant]:
    with plant_at(place) as plant:
        plant.start()
        yield plant
        assert plant.end() == 0


def connect(plant: Plant, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=plant.tls_root)
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", plant.port), timeout=5), server_hostname="localhost"
    )


def answered(line: ssl.SSLSocket) -> bytes:
    """One whole answer, or what there was before the end."""
    data = b""
    while not (found := re.search(rb"content-length: (\d+)\r\n.*?\r\n\r\n", data, re.DOTALL)) or len(
        data
    ) < found.end() + int(found[1]):
        part = line.recv(65_536)
        if not part:
            break
        data += part
    return data


def signed_in(plant: Plant, name: str = "station-01") -> StationClient:
    """A station with an access token of this registry."""
    station = station_of(plant.made, name)
    for _ in range(2):
        form = station.form()
        head = (
            "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n"
            f"dpop: {station.proof('POST', '/oauth/token')}\r\ncontent-length: {len(form)}\r\n\r\n"
        )
        with connect(plant) as line:
            line.sendall(head.encode() + form)
            answer = answered(line)
        if nonce := re.search(rb"dpop-nonce: (\S+)\r\n", answer):
            station.nonce = nonce[1].decode()
        if token := re.search(rb'"access_token":"([^"]+)"', answer):
            station.token = token[1].decode()
            return station
    raise AssertionError(answer)
