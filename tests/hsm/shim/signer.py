"""A signer's process over the shim, its client, and statements for it: for tests that need all three."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hsm.client import SignerClient
from hsm.signer import SignerStatus
from tests import warm
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from tests.hsm.shim.shim import Shim
from tests.hsm.test_service import public, write_root
from trust.root import StationKeys
from trust.statement import PinStatement, envelope


def start(directory: Path, root: Path, shim: Shim, fault: str = "") -> warm.Running | subprocess.Popen[str]:
    """The process, ready; `fault` is code that it runs first."""
    program = ["-c", f"{fault}; from hsm.cli import main; main()"] if fault else ["-m", "hsm"]
    command = [sys.executable, *program, "serve", "--dir", str(directory), "--root", str(root)]
    process = warm.start(command, stderr=subprocess.PIPE, env=shim.environment)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("ready: "):
            return process
    raise AssertionError("".join(lines))


def end(process: warm.Running | subprocess.Popen[str]) -> str:
    """Its end on request, clean; what it logged."""
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=15)
    assert process.returncode == 0, logged
    return logged


@dataclass(slots=True)
class Scene:
    """One signer over the shim and what a station asks of it."""

    directory: Path
    root: Path
    shim: Shim
    floor: Floor

    @classmethod
    def of(cls, directory: Path, shim: Shim, parties: Parties, *, station: str = "st-01") -> Scene:
        keys, root = public(directory), directory.parent / f"{directory.name}.root.json"
        trusted = write_root(root, keys, stations={station: StationKeys(**keys)})
        floor = Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)
        floor.trusted, floor.order = trusted, make_order(trusted, quantity=2000)
        return cls(directory, root, shim, floor)

    @contextmanager
    def serving(self, fault: str = "") -> Iterator[subprocess.Popen[str]]:
        process = start(self.directory, self.root, self.shim, fault)
        try:
            yield process
        finally:
            end(process)

    def client(self, timeout_s: float = 10.0) -> SignerClient:
        return SignerClient(self.directory / "run" / "signer.sock", timeout_s=timeout_s)

    async def begun(self) -> SignerClient:
        """A client whose signer knows the order."""
        client = self.client()
        await client.import_order(envelope(self.floor.order))
        return client

    async def pin(self, client: SignerClient) -> PinStatement:
        """A new device's statement."""
        device = Device()
        return self.floor.pin(device, await client.challenge(self.floor.challenge_request(device)))


def surplus(shim: Shim, status: SignerStatus) -> int:
    """Counted payloads and re-signs beyond the signatures that the token really made: never below 0."""
    return sum(status.signatures.values()) + status.resigned - shim.signatures
