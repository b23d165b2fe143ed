"""What the demo's plant is made of: directories, signers, registry, trust root, orders, bench.

Everything is made by the programs that make it in a real plant; only the trust root and the orders, which people sign
there, are written by this module, without signatures, for environment `demo`.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from fixtures.slot import SlotConfig
from fixtures.slots import read_slots, write_slots
from station.config import Config, Paths
from station.demo import processes
from station.demo.bench import Bench, firmware_sha256, start_bench
from station.faults import fault
from trust.keys import PublicKey
from trust.root import RegistryKeys, Root, StationKeys
from trust.root_file import wrap

REGISTRY = "registry-01"
MARKER = ".keystation-demo"
_READY_S = 30.0
_ORDER_LASTS = timedelta(days=30)
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
        self._paths.root.write_bytes(wrap(self._root()).to_json())

    def _root(self) -> Root:
        factory, cloud = self._public("factory"), self._public("cloud")
        tls = ssl.PEM_cert_to_DER_cert((self._state / "registry" / "tls.crt").read_text())
        return Root(
            environment=self._config.station.environment,
            version=1,
            registry=REGISTRY,
            registry_url=f"https://localhost:{_free_port()}",
            tls_root=tls,
            stations={
                self._config.station.name: StationKeys(
                    **{purpose: factory[purpose] for purpose in StationKeys.__struct_fields__}
                )
            },
            registry_keys=RegistryKeys(receipt=cloud["receipt"]),
        )

    def _public(self, role: str) -> dict[str, bytes]:
        keys = msgspec.json.decode((self._state / f"signer-{role}" / "public.json").read_bytes(), type=dict[str, str])
        return {purpose: base64.b64decode(spki) for purpose, spki in keys.items()}

    def start(self, port: int) -> None:
        """Signers and registry, each a process of its own."""
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
        configs: list[SlotConfig] = []
        batches = []
        for bench in benches:
            found = read_slots(bench.wait())
            configs += found
            order = self.write_order(bench.bench.product, len(found))
            batches.append(Batch(order=order, slots=tuple(config.name for config in found)))
        write_slots(self._paths.slots, configs)
        return tuple(batches)

    def write_order(self, product: _Product, quantity: int) -> Path:
        """The plain TOML order for one product of the demo."""
        cloud = self._public("cloud")
        udp = product == "ec"
        key = PublicKey.from_der(cloud["cloud-udp" if udp else "cloud-tcp"]).to_pem()
        authority = PublicKey.from_der(cloud["authority"]).to_pem()
        path = self._state / "orders" / f"{product}.toml"
        path.parent.mkdir(exist_ok=True)
        firmware = firmware_sha256(self._board)
        allowance, now = max(1, quantity // 10), datetime.now(UTC)
        path.write_text(
            f'order_id = "demo-{product}-{hashlib.sha256(self._paths.root.read_bytes()).hexdigest()[:6]}"\n'
            f'product = "demo-{product}"\n'
            f"product_id = {1001 if udp else 1002}\n"
            f'key_type = "{"ec-p256" if udp else "rsa-2048"}"\n'
            f'origins = ["generated"]\n'
            f"quantity = {quantity}\n"
            f"allowance = {allowance}\n"
            f'not_before = "{now:%Y-%m-%dT%H:%M:%SZ}"\n'
            f'not_after = "{now + _ORDER_LASTS:%Y-%m-%dT%H:%M:%SZ}"\n'
            f'family = "smp"\n'
            f'service = "{"udp" if udp else "tcp"}"\n'
            f'host = "{"udp" if udp else "tcp"}.devices.example"\n'
            f"port = {5684 if udp else 5683}\n"
            f'handshake_waiver = "not-built"\n'
            f'cloud_key = """\n{key}"""\n'
            f'authority_key = """\n{authority}"""\n'
            f'\n[[firmware]]\nsha256 = "{firmware}"\n'
            f"\n[stations.{self._config.station.name}]\nquantity = {quantity}\nallowance = {allowance}\n"
        )
        return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
