"""A plant of running programs, and insertions at it: `station run` in a forked process, with fault points or without.

The station's own wiring puts its parties together; only their names in it are wrapped.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn
from unittest import mock
from urllib.parse import urlsplit

import msgspec

from fixtures.bench.flash_file import device_id_of
from fixtures.slots import SerialSlot, read_slots, write_slots
from hsm.client import SignerClient
from station import cli, wiring
from station import config as settings
from station.demo import plant as demo
from station.demo.bench import Bench, start_bench
from station.root import load_root
from tests import warm
from tests.faults import disk
from tests.faults.outboxes import QuietOutbox
from tests.faults.parties import FaultyCloud, FaultyJobs, FaultySigner
from tests.faults.points import Met, Plan, Points
from tests.faults.rig import listen
from tests.faults.slots import FaultySlot
from tests.faults.watch import Watch

Product = Literal["ec", "rsa"]
TOP = Path(__file__).resolve().parents[2]
STATION = str(Path(sys.executable).with_name("station"))


class Said(msgspec.Struct, kw_only=True):
    """What a station process said, and how it ended."""

    killed: bool = False
    code: int = 0
    points: list[Met] = msgspec.field(default_factory=list)
    disks: list[str] = msgspec.field(default_factory=list)
    verdict: str = ""
    fault: str = ""
    detail: str = ""
    already: bool = False


@dataclass(slots=True)
class Site:
    """A plant at work; `slots` are the nests whose device is still new."""

    directory: Path
    slots: list[str]
    product: Product = "ec"

    @property
    def state(self) -> Path:
        return self.directory / "s"

    @property
    def ledger(self) -> Path:
        return self.state / "station" / "ledger.db"

    def device(self, slot: str) -> str:
        return device_id_of(self.flash(slot)).hex()

    @property
    def bench(self) -> Path:
        return self.state / f"bench-{self.product}"

    def flash(self, slot: str) -> Path:
        return self.bench / "slots" / slot / "flash.bin"

    def words(self, slot: str) -> list[str]:
        """The command that an operator would type for one slot."""
        return [
            "run", "--order", str(self.state / "orders" / f"{self.product}.json"), "--config", str(self.directory / "config.toml"),
            "--slots", slot, "--count", "1", "--retries", "0", "--jsonl",
        ]  # fmt: skip

    def statements_signed(self) -> list[tuple[str, int, int]]:
        """Payloads and re-signs by purpose, checkpoints aside: a log that grew has its head signed."""
        counted = disk.query(self.state / "signer-factory" / "counters.db", "SELECT * FROM signatures ORDER BY 1")
        return [each for each in counted if each[0] in {"pin", "completion"}]

    def digest(self) -> str:
        """One hash over all disks."""
        return disk.digest(self.state)


@contextlib.contextmanager
def running_site(directory: Path, devices: int, product: Product = "ec") -> Iterator[Site]:
    """A plant with so many new native devices; everything is stopped afterwards."""
    for name in ("station.cli.run", "station.cli.batch"):  # loaded once here, not once in each child
        importlib.import_module(name)
    example = (TOP / "config.example.toml").read_text()
    (directory / "config.toml").write_text(example.replace("run/demo", "s"))
    config, paths = settings.load(directory / "config.toml")
    with ExitStack() as stack:
        plant = demo.Plant(config, paths, "native", stack)
        plant.clear()
        bench = start_bench(Bench(product=product, board="native", devices=devices), paths.state, stack)
        with warm.programs():
            plant.make()
        plant.start(urlsplit(load_root(paths.root).root.registry_url).port or 0)
        slots = read_slots(bench.wait())
        write_slots(paths.slots, slots)
        order = paths.state / "orders" / f"{product}.json"
        with warm.programs():
            plant.papers.make_orders(paths.root, {order: plant.order(bench.bench, 100_000)})
        yield Site(directory, [slot.name for slot in slots], product)


# ---- one insertion


def insert(site: Site, slot: str, plan: Plan | None = None, *, survey: bool = False) -> Said:
    """`station run` for one slot in a forked process, with fault points around its parties."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        _be_station(site, slot, Points(plan), there, survey=survey)
    os.close(there)
    told, killed = listen(pid, here, hangs_s=60)
    return Said(killed=True) if killed else msgspec.json.decode(told, type=Said)


def _be_station(site: Site, slot: str, points: Points, pipe: int, *, survey: bool) -> NoReturn:
    disks: list[str] = []
    if survey:
        points.look = lambda: disks.append(site.digest())
    out = os.open(site.directory / "out.jsonl", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    sys.argv = [STATION, *site.words(slot)]
    code = 1
    with wrapped(site, points):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            said = said_in((site.directory / "out.jsonl").read_text().splitlines())
            os.write(pipe, msgspec.json.encode(Said(code=code, points=points.met, disks=disks, **said)))
            os._exit(0)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def wrapped(site: Site, points: Points) -> Iterator[None]:
    """The station's parties behind fault points; nothing else of its wiring is touched."""
    watch = Watch(site.ledger, site.directory / "findings.txt")
    open_cloud, open_store = wiring.open_cloud, wiring.open_store
    changes: dict[str, Callable[..., Any]] = {
        "SerialSlot": lambda config: FaultySlot(SerialSlot(config), points, watch),
        "SignerClient": lambda path: FaultySigner(SignerClient(path), points, watch),
        "open_cloud": lambda *args: FaultyCloud(open_cloud(*args), points, watch),
        "open_store": lambda plan: FaultyJobs(open_store(plan), points),
        "Outbox": QuietOutbox,
    }
    with ExitStack() as stack:
        for name, change in changes.items():
            stack.enter_context(mock.patch.object(wiring, name, change))
        yield


def said_in(lines: list[str]) -> dict[str, Any]:
    ended = [each for each in map(json.loads, lines) if each["event"] == "unit-finished"]
    if not ended:
        return {}
    last = ended[-1]
    return {"verdict": last["verdict"], "fault": last["code"], "detail": last["detail"], "already": last["already"]}
