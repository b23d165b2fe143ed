"""What the demo's plant is made of: directories, signers, registry, device service, trust root, orders, bench.

Everything is made by the programs that make it in a real plant; what people do there with their own keys is in
`station.demo.papers`.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fixtures.slots import read_slots, write_slots
from station.config import Config, Paths
from station.demo import processes
from station.demo.bench import Bench, firmware_sha256, start_bench
from station.demo.papers import OrderSpec, Papers
from station.faults import fault

REGISTRY = "registry-01"
MARKER = ".keystation-demo"
_READY_S = 30.0
_Product = Literal["ec", "rsa"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One of the demo's two orders and the slots that its units are in."""

    order: Path
    slots: tuple[str, ...]


class Plant:
    """Builds and starts the plant below the settings' state directory."""

    def __init__(self, config: Config, paths: Paths, board: str, stack: ExitStack) -> None:
        self._config = config
        self._state = paths.state
        self._paths = paths
        self._board = board
        self._stack = stack
        self._logs = paths.state / "logs"
        station = config.station
        self.papers = Papers(paths.state, station.name, station.environment, self._logs / "init.log")

    def require_own(self) -> None:
        """Refuse a directory that no demo has made."""
        if self._state.exists() and any(self._state.iterdir()) and not (self._state / MARKER).exists():
            raise fault("setup", f"{self._state} is not empty and not a demo's: name another state directory")

    def clear(self) -> None:
        """Begin anew. Whether something is lost with the old plant is the caller's question."""
        self.require_own()
        if self._state.exists():
            shutil.rmtree(self._state)
        self._logs.mkdir(parents=True)
        (self._state / MARKER).touch()

    def make(self) -> None:
        """Keys, registry and trust root. An existing plant stays as it is."""
        if self._paths.root.exists():
            return
        environment = ["--environment", self._config.station.environment]
        signer, registry = processes.script("station-signer"), processes.script("station-registry")
        for role, name in (("factory", self._config.station.name), ("cloud", REGISTRY)):
            place = str(self._state / f"signer-{role}")
            processes.run(
                [signer, "init", "--dir", place, "--role", role, "--name", name, *environment], self._logs / "init.log"
            )
        argv = [registry, "init", "--dir", str(self._state / "registry"), "--name", REGISTRY, "--host", "localhost"]
        socket_ = str(self._state / "signer-cloud" / "run" / "signer.sock")
        processes.run([*argv, "--signer-socket", socket_, *environment], self._logs / "init.log")
        self.papers.make_root(self._paths.root, registry=REGISTRY, url=f"https://localhost:{_free_port()}")

    def start(self, port: int) -> None:
        """Signers, registry and device service, each a process of its own."""
        signer, registry = processes.script("station-signer"), processes.script("station-registry")
        root = ["--root", str(self._paths.root)]
        for role in ("factory", "cloud"):
            self._serve([signer, "serve", "--dir", str(self._state / f"signer-{role}"), *root], f"signer-{role}.log")
        self._serve(
            [
                registry,
                "serve",
                "--dir",
                str(self._state / "registry"),
                *root,
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            "registry.log",
        )
        self._serve([registry, "devices", "--dir", str(self._state / "registry"), *root], "devices.log")

    def _serve(self, argv: list[str], log: str) -> None:
        process = self._stack.enter_context(processes.Process(argv, self._logs / log))
        process.wait_until(lambda: process.says("ready"), _READY_S)

    def bench(self, devices: int) -> tuple[Batch, ...]:
        """Start the devices of both products and write orders and slots file."""
        few = max(1, devices // 4) if devices > 1 else 0
        split: tuple[tuple[_Product, int], ...] = (("ec", devices - few), ("rsa", few))
        benches = [
            start_bench(Bench(product=product, board=self._board, devices=count), self._state, self._stack)
            for product, count in split
            if count
        ]
        found = {running.bench: read_slots(running.wait()) for running in benches}
        files = {bench: self._state / "orders" / f"{bench.product}.json" for bench in found}
        self.papers.make_orders(
            self._paths.root, {files[bench]: self.order(bench, len(slots)) for bench, slots in found.items()}
        )
        write_slots(self._paths.slots, [config for slots in found.values() for config in slots])
        return tuple(
            Batch(order=files[bench], slots=tuple(config.name for config in slots)) for bench, slots in found.items()
        )

    def order(self, bench: Bench, quantity: int) -> OrderSpec:
        """What the order of this bench's product is for."""
        root = hashlib.sha256(self._paths.root.read_bytes()).hexdigest()
        return OrderSpec(
            order_id=f"demo-{bench.product}-{root[:6]}",
            product=f"demo-{bench.product}",
            product_id=bench.product_id,
            udp=bench.product == "ec",
            quantity=quantity,
            firmware_sha256=firmware_sha256(self._board),
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
