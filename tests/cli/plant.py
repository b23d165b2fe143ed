"""A real plant for the command line's tests: signers, registry and native devices as processes that tests may stop.

Like `station demo` makes it, with handles on its parts and orders as a test wants them. Holds no assertion.
"""

from __future__ import annotations

import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from fixtures.slots import read_slots, write_slots
from station import config as settings
from station.demo import plant as demo
from station.demo.bench import Bench, firmware_sha256, start_bench
from station.demo.papers import OrderSpec
from station.demo.processes import Process
from station.root import load_root
from tests import warm
from tests.trust import orders

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
DEVICES = (
    14  # from ec-09 on, units that are reworked, from ec-12 on those that meet the cloud: no other test provisions them
)


class StoppableParts(demo.Plant):
    """The demo's plant; its programs can be stopped and started again by the name of their log."""

    def __init__(self, config: settings.Config, paths: settings.Paths, stack: ExitStack) -> None:
        super().__init__(config, paths, "native", stack)
        self._commands: dict[str, list[str]] = {}
        self._running: dict[str, Process] = {}
        self._starts = 0

    def _serve(self, argv: list[str], log: str) -> None:
        self._commands[log.removesuffix(".log")] = argv
        self.start_again(log.removesuffix(".log"))

    def start_again(self, name: str) -> None:
        self._starts += 1  # a log of its own each time: its "ready" must be this process's
        process = self._stack.enter_context(Process(self._commands[name], self._logs / f"{name}-{self._starts}.log"))
        process.wait_until(lambda: process.says("ready"), 30)
        self._running[name] = process

    def stop(self, name: str) -> None:
        self._running.pop(name).stop()


class Site:
    """Where the plant is, and what tests ask of it."""

    def __init__(self, directory: Path, parts: StoppableParts, slots: tuple[str, ...]) -> None:
        self.directory = directory
        self.state = directory / "s"
        self.config = directory / "config.toml"
        self.parts = parts
        self.slots = slots
        self.base_order = (self.state / "orders" / "ec.toml").read_text()

    def order(self, order_id: str, **changes: object) -> Path:
        """The order file of this id; each change is an entry's TOML text, None takes the entry out."""
        path = self.directory / f"{order_id}.toml"
        path.write_text(changed(self.base_order, **{"order_id": f'"{order_id}"', **changes}))
        return path

    def config_with(self, name: str, *swaps: tuple[str, str]) -> Path:
        """Another settings file beside the plant's own, with these texts swapped."""
        text = self.config.read_text()
        for old, new in swaps:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = self.directory / f"{name}.toml"
        path.write_text(text)
        return path

    def device(self, slot: str) -> str:
        """The id of the device in a slot, as its flash file has it."""
        from fixtures.bench.flash_file import device_id_of

        return device_id_of(self.state / "bench-ec" / "slots" / slot / "flash.bin").hex()

    def pins(self, device: str) -> int:
        """How many pin statements the registry's database has for a device."""
        with sqlite3.connect(f"file:{self.state / 'registry' / 'registry.db'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM pins WHERE device_id = ?", (device,)).fetchone()[0])

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """One program is down."""
        self.parts.stop(part)
        try:
            yield
        finally:
            self.parts.start_again(part)


def changed(order: str, **changes: object) -> str:
    """An order's text with entries replaced, added or taken out (None); its stations share what it then has."""
    table = tomllib.loads(order)
    said = {name: inline(value) for name, value in table.items()} | changes
    if changes.keys() & {"quantity", "allowance"} and "stations" not in changes:
        parts = orders.shared(table["stations"], *(_number(said[name]) for name in ("quantity", "allowance")))
        said["stations"] = inline(msgspec.to_builtins(parts))
    return "".join(f"{name} = {value}\n" for name, value in said.items() if value is not None)


def _number(text: object) -> int:
    """What the entry says; nothing, for one that is left out or is none."""
    return int(str(text)) if re.fullmatch("[0-9]+", str(text)) else 0


def inline(value: object) -> str:
    """A value as TOML on one line, but for long text."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {inline(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, str):
        return f'"""{value}"""' if "\n" in value else f'"{value}"'
    return str(value).lower()


def image(sha256: str) -> str:
    """The entry `firmware` with this one image."""
    return inline([{"sha256": sha256}])


@contextmanager
def running_site(directory: Path, devices: int = DEVICES) -> Iterator[Site]:
    """A plant at work with so many native EC devices; everything is stopped afterwards."""
    (directory / "config.toml").write_text(EXAMPLE.read_text().replace("run/demo", "s"))
    config, paths = settings.load(directory / "config.toml")
    with ExitStack() as stack:
        with warm.programs():
            parts = StoppableParts(config, paths, stack)
            parts.clear()
            bench = start_bench(Bench(product="ec", board="native", devices=devices), paths.state, stack)
            parts.make()
            parts.start(urlsplit(load_root(paths.root).root.registry_url).port or 0)
            slots = read_slots(bench.wait())
            write_slots(paths.slots, slots)
            spec = OrderSpec(
                order_id="demo-ec", product="demo-ec", product_id=bench.bench.product_id, udp=True, meets=False, quantity=1000,
                firmware_sha256=firmware_sha256("native"),
            )  # fmt: skip
            paths.state.joinpath("orders").mkdir()
            (paths.state / "orders" / "ec.toml").write_text(parts.papers.order_text(spec))
        yield Site(directory, parts, tuple(slot.name for slot in slots))
