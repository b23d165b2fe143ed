"""The demo's plant, brought up for a measurement: real signers, registry and bench as processes of their own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from station import config as settings
from station.demo.bench import Bench, start_bench
from station.demo.plant import Plant
from station.plan import Plan
from station.root import load_root
from tests.hsm.shim.shim import Shim, compiled

_EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Up:
    """A plant that runs: where it is, its order and its slots file."""

    config: Path
    state: Path
    order: Path
    slots: Path
    stack: ExitStack

    def plan(self, slots: Path | None = None) -> Plan:
        return Plan.load(self.config, self.order, slots or self.slots)

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: signers, registry, bench with its devices, and this process."""
        mine = os.times()
        found = {"station": mine.user + mine.system}
        for entry in Path("/proc").iterdir():
            words = _command(entry)
            for name, mark in _MARKS.items():
                if mark in words and str(self.state) in words:
                    found[name] = found.get(name, 0.0) + _cpu(entry)
        return found


_MARKS = {
    "signer (factory)": "signer-factory",
    "signer (cloud)": "signer-cloud",
    "registry": "station-registry",
    "bench": "fixtures.bench",
    "devices": "firmware/build",
}


@contextmanager
def plant(board: str, devices: int, product: str = "ec", *, sign_ms: int = 0) -> Iterator[Up]:
    """One product's devices and everything around them, in a directory that is gone afterwards.

    With `sign_ms` each signature of the factory's token takes so much longer.
    """
    with tempfile.TemporaryDirectory(prefix="ks-bench-") as name, ExitStack() as stack:
        config_file = Path(name) / "config.toml"
        config_file.write_text(_EXAMPLE.read_text().replace("run/demo", "s"))
        config, paths = settings.load(config_file)
        made = Plant(config, paths, board, stack)
        made.clear()
        made.make()
        if sign_ms:
            _slow(Path(name), paths.state / "signer-factory", sign_ms)
        made.start(urlsplit(load_root(paths.root).root.registry_url).port or 0)
        bench = start_bench(Bench(product=product, board=board, devices=devices), paths.state, stack)  # type: ignore[arg-type]
        slots = bench.wait()
        order = paths.state / "orders" / f"{product}.json"
        made.papers.make_orders(paths.root, {order: made.order(bench.bench, devices)})
        yield Up(config_file, paths.state, order, slots, stack)


def _slow(place: Path, signer: Path, sign_ms: int) -> None:
    shim = Shim.over(compiled(place), place / "control")
    os.environ.update({key: shim.environment[key] for key in ("KS_SHIM_MODULE", "KS_SHIM_CONTROL")})
    shim.serve_by(signer)
    shim.delay("C_Sign", sign_ms, times=1_000_000)


def _command(entry: Path) -> str:
    try:
        return (
            (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if entry.name.isdigit()
            else ""
        )
    except OSError:
        return ""


def _cpu(entry: Path) -> float:
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def settle() -> None:
    """Let start-up work end before a measurement."""
    time.sleep(1.0)
