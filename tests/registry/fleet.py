"""Several registry processes on one PostgreSQL database, started, killed and started again; each on its own port."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry import setup
from registry.settings import FILE, RegistryConfig, dump
from tests import warm
from tests.registry.make import World, ec_key, public, world
from tests.registry.running import REPOSITORY
from trust import root_file as roots
from trust.root import RegistryKeys

_READY_S = 60


@dataclass(slots=True)
class Process:
    """One registry process: its directory and, once it was started, its port."""

    directory: Path
    program: tuple[str, ...]
    port: int = 0
    process: warm.Running | subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        argv = [sys.executable, "-m", *self.program, "--port", str(self.port)]
        with (self.directory / "log").open("wb") as log:
            self.process = warm.start(argv, cwd=REPOSITORY, stderr=log)

    def wait(self) -> None:
        end = time.monotonic() + _READY_S
        while (found := re.search(r"ready: .* port (\d+),", self.said())) is None:
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"it has ended with {code}: {self.said()}"
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)
        self.port = int(found[1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def said(self) -> str:
        return (self.directory / "log").read_text()


@dataclass(slots=True)
class Fleet:
    """The processes, and the world that they and their stations share."""

    made: World
    database_url: str
    processes: list[Process] = field(default_factory=list)

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self.processes]

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.made.trusted.root.tls_root)
        return context


def make_fleet(
    place: Path, database_url: str, processes: int, *, stations: int = 2, quantity: int = 1000, leases: bool = False,
    unsafe: bool = False, signer: Path | None = None,
) -> Fleet:  # fmt: skip
    """Directories of so many processes with one certificate; none is started. The database is migrated already.

    `signer` is the directory of a real cloud signer; without one each process signs in its own memory.
    """
    socket = "none" if signer is None else str(signer / "run" / "signer.sock")
    # The limits of one address are tested elsewhere; here thirty-two stations come from one.
    config = RegistryConfig(
        name="registry-01", environment="demo", database=database_url, rate_factor=0.0, signer_socket=socket
    )
    home = setup.make(place / "1", config, "localhost")
    keys, program = _in_memory(place, leases=leases) if signer is None else (_of_token(signer, leases=leases), ())
    made = world(
        tls_root=ssl.PEM_cert_to_DER_cert(home.tls_certificate.read_text()), count=stations, quantity=quantity,
        registry_keys=keys,
    )  # fmt: skip
    root = place / "root.json"
    root.write_bytes(roots.wrap(made.trusted.root).to_json())
    fleet = Fleet(made, database_url)
    for number in range(1, processes + 1):
        directory = place / f"{number}"
        directory.mkdir(exist_ok=True)
        if directory != home.directory:
            for each in (home.tls_key, home.tls_certificate):
                shutil.copy2(each, directory)
            (directory / FILE).write_text(dump(config))
        served = ("--dir", str(directory), "--root", str(root))
        extra = ("--unsafe",) if unsafe else ()
        fleet.processes.append(
            Process(directory, (*program, *served, *extra) if program else ("registry", "serve", *served))
        )
    return fleet


def _in_memory(place: Path, *, leases: bool) -> tuple[RegistryKeys, tuple[str, ...]]:
    """Keys in files, and the program that signs with them."""
    receipt, lease = ec_key(), ec_key() if leases else None
    (place / "receipt.pem").write_bytes(_pem(receipt))
    keys = RegistryKeys(receipt=public(receipt).spki, lease=b"" if lease is None else public(lease).spki)
    program = ("tests.registry.fleet_child", "--receipt-key", str(place / "receipt.pem"))
    if lease is None:
        return keys, program
    (place / "lease.pem").write_bytes(_pem(lease))
    return keys, (*program, "--lease-key", str(place / "lease.pem"))


def _of_token(signer: Path, *, leases: bool) -> RegistryKeys:
    keys = msgspec.json.decode((signer / "public.json").read_bytes(), type=dict[str, str])
    return RegistryKeys(
        receipt=base64.b64decode(keys["receipt"]), lease=base64.b64decode(keys["lease"]) if leases else b""
    )


@contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """All processes of the fleet, started together; whatever runs at the end is ended."""
    try:
        for each in fleet.processes:
            each.launch()
        for each in fleet.processes:
            each.wait()
        yield fleet
    finally:
        for each in fleet.processes:
            if each.process is not None:
                each.end(signal.SIGKILL)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
