"""A plant whose factory signer is a process over a SoftHSM token behind the shim; everything else is in this process."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsm.token import pin_tries
from tests import empty
from tests.flow.plant import REGISTRY, Plant, make_order
from tests.hsm.conftest import make_signer_dir
from tests.hsm.local_signer import make_root
from tests.hsm.shim.shim import Shim, compiled
from tests.hsm.software_token import SoftwareToken
from trust.root_file import wrap
from trust.statement import envelope

STATION = "st-01"
_READY_S = 20.0


class _PublicKeys:
    """What `make_root` needs of a token."""

    def __init__(self, directory: Path) -> None:
        self._keys = json.loads((directory / "public.json").read_text())

    def public_key(self, label: str) -> bytes:
        return base64.b64decode(self._keys[label])


def make_plant(directory: Path, quantity: int) -> Plant:
    """A new plant; the signer's directory is `directory/signer`."""
    signer: Any = _PublicKeys(make_signer_dir(directory / "signer", "factory", STATION))
    root = make_root({STATION: signer}, REGISTRY, SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False))
    (directory / "root.json").write_bytes(wrap(root.root).to_json())
    order = make_order(root, (STATION,), quantity=quantity, allowance=quantity)
    (directory / "order.json").write_bytes(envelope(order).to_json())
    empty.registry_database(directory / "registry.db")
    empty.station_database(directory / f"{STATION}.db")
    return Plant(directory)


@dataclass(slots=True)
class SignerProcess:
    """The signer's process, each start with a log of its own. `fault` is code that it runs first."""

    place: Path
    shim: Shim
    fault: str = ""
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _logs: list[Path] = field(default_factory=list)

    @classmethod
    def over(cls, place: Path, fault: str) -> SignerProcess:
        shim = Shim.over(compiled(place), place / "shim.control")
        shim.serve_by(place / "signer")
        return cls(place, shim, fault)

    @property
    def socket(self) -> Path:
        return self.place / "signer" / "run" / "signer.sock"

    async def start(self) -> bool:
        """Whether it is ready; False when it refuses to start."""
        self.starts += 1
        log = self.place / f"signer-{self.starts}.log"
        self._logs.append(log)
        program = ["-c", f"{self.fault}; from hsm.cli import main; main()"] if self.fault else ["-m", "hsm"]
        words = ["serve", "--dir", str(self.place / "signer"), "--root", str(self.place / "root.json")]
        process = self._process = _started([sys.executable, *program, *words], log, self.shim.environment)
        return await _until(lambda: b"ready: " in log.read_bytes(), lambda: process.poll() is not None)

    async def kill(self) -> None:
        """As a power cut of its host would end it."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait, 5)

    async def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 15)

    def allow_pin(self) -> None:
        """What `station-signer retry-pin` does."""
        pin_tries.forget(self.place / "signer")

    def said(self) -> Iterator[str]:
        """All that any start has logged."""
        for log in self._logs:
            yield from log.read_text().splitlines()


def _started(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, stderr=out, env=environment)


async def _until(holds: Callable[[], bool], ended: Callable[[], bool]) -> bool:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        if holds():
            return True
        if ended():
            return holds()
        await asyncio.sleep(0.01)
    raise AssertionError("the signer is neither ready nor ended")
