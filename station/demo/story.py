"""The demo's course: the plant is made and started, then the same commands are typed that an operator would type."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from station import config as settings
from station.cli.output import data, note
from station.demo.plant import Batch, Plant
from station.demo.processes import Interrupts, script
from station.exits import Exit, worst
from station.root import load_root

BOARDS = {
    "emulated": "the C firmware on QEMU's model of a Cortex-M4 board (emulated)",
    "native": "the C firmware as Linux processes on ptys (emulated)",
    "in-process": "Python devices in the bench's process, not the C firmware (emulated)",
}
_MOST_SHOWN = 4


def play(config_file: Path, board: str, devices: int, *, keep: bool) -> Exit:
    """The whole demo; the worst exit code of its commands. Nothing that it started runs afterwards."""
    began = time.monotonic()
    config, paths = settings.load(config_file)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        try:
            note(f"devices    {devices}: {BOARDS[board]}")
            batches = _plant_up(Plant(config, paths, board, stack), paths.root, devices, keep=keep)
            note(f"plant up   {time.monotonic() - began:.1f} s; from here on the demo types what you would\n")
            typist = Typist(config_file, interrupts)
            codes = [typist.run(batch) for batch in batches]
            codes += [typist.types("ledger", "verify"), typist.types("ledger", "report")]
        finally:
            interrupts.ignore()
    if worst(codes) is not Exit.INTERRUPTED:
        _look_around(config_file, paths.state)
        data(f"demo       {time.monotonic() - began:.1f} s from start to end")
    return worst(codes)


def _plant_up(plant: Plant, root_file: Path, devices: int, *, keep: bool) -> tuple[Batch, ...]:
    kept = keep and root_file.exists()
    if not kept:
        plant.clear()
    plant.make()
    trusted = load_root(root_file)
    root = trusted.root
    note(f"root       {trusted.sha256[:16]}…, environment {root.environment}, {'kept' if kept else 'new'}, unsigned")
    plant.start(urlsplit(root.registry_url).port or 0)
    note("signers    factory and cloud: two processes, two SoftHSM tokens (software)")
    note(f"registry   {root.registry_url}")
    return plant.bench(devices)


class Typist:
    """Types commands, showing each; after an interruption nothing more."""

    def __init__(self, config_file: Path, interrupts: Interrupts) -> None:
        self._config = shown(config_file)
        self._interrupts = interrupts

    def run(self, batch: Batch) -> Exit:
        """A batch under one of the demo's orders."""
        return self.types("run", "--order", shown(batch.order), "--slots", ",".join(batch.slots))

    def types(self, *words: str) -> Exit:
        """One command of the station, as its user would type it."""
        if self._interrupts.any:
            return Exit.INTERRUPTED
        note("$ station " + " ".join(_short(word) for word in (*words, "--config", self._config)))
        code = self._interrupts.run([script("station"), *words, "--config", self._config])
        note("")
        return Exit(code) if code in set(Exit) else Exit.UNIT_FAILED


def shown(path: Path) -> str:
    """A path as one would type it here: relative if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _short(word: str) -> str:
    names = word.split(",")
    return ",".join([*names[:_MOST_SHOWN], "…"]) if len(names) > _MOST_SHOWN else word


def _look_around(config_file: Path, state: Path) -> None:
    note(f"Look around, though nothing runs any more. Everything the demo made is in {shown(state)}.")
    note(f"  station device show DEVICE-ID --config {shown(config_file)}")
    note("      what is known of a device; --save DIR for openssl (docs/statements.md)")
    note(f"  station demo --keep --config {shown(config_file)}")
    note("      the same plant and devices again: what has passed is verified again")
