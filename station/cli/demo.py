"""`station demo`: the whole plant on this machine, then the same commands that an operator would type."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import click

from station import config as settings
from station.cli.output import data, note
from station.demo.plant import Batch, Plant
from station.demo.processes import script
from station.exits import Exit, worst
from station.root import load_root

_BOARDS = {
    "emulated": "the C firmware on QEMU's model of a Cortex-M4 board (emulated)",
    "native": "the C firmware as Linux processes on ptys (emulated)",
    "in-process": "Python devices in the bench's process (emulated, not the C firmware)",
}


@click.command()
@click.option(
    "--bench",
    "board",
    type=click.Choice(list(_BOARDS)),
    default="native",
    show_default=True,
    help="What the devices are.",
)
@click.option(
    "--devices", type=click.IntRange(1, 256), default=8, show_default=True, help="How many; a quarter of them RSA."
)
@click.option(
    "--config",
    "config_file",
    default="config.example.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)
@click.option("--keep", is_flag=True, help="Go on with the last demo's plant: devices that passed are verified again.")
def demo(board: str, devices: int, config_file: Path, keep: bool) -> None:
    """A whole bench on this machine: provisions devices under two orders, audits the ledger, prints the report."""
    began = time.monotonic()
    config, paths = settings.load(config_file)
    with ExitStack() as stack:
        plant = Plant(config, paths, board, stack)
        if not (keep and paths.root.exists()):
            plant.clear()
        note(f"devices    {devices}: {_BOARDS[board]}")
        plant.make()
        root = load_root(paths.root)
        note(f"root       {root.sha256}  environment {root.root.environment}, unsigned (demo)")
        plant.start(urlsplit(root.root.registry_url).port or 0)
        note("signers    factory and cloud: two processes, two SoftHSM tokens (software, no protection of keys)")
        note(f"registry   {root.root.registry_url}")
        batches = plant.bench(devices)
        note(f"plant up   {time.monotonic() - began:.1f} s; the demo types the rest as you would\n")
        codes = [_run(config_file, batch) for batch in batches]
        codes.append(_station("ledger", "verify", "--config", str(config_file)))
        _report(config_file, paths.state)
    data(f"demo       {time.monotonic() - began:.1f} s from start to end")
    sys.exit(worst(codes))


def _run(config_file: Path, batch: Batch) -> Exit:
    return _station("run", "--config", str(config_file), "--order", str(batch.order), "--slots", ",".join(batch.slots))


def _station(*words: str) -> Exit:
    shown = list(words)
    if "--slots" in shown and len(shown[shown.index("--slots") + 1]) > 40:  # noqa: PLR2004 - a line's width
        shown[shown.index("--slots") + 1] = shown[shown.index("--slots") + 1][:36] + "…"
    note("$ station " + " ".join(shown))
    code = subprocess.run([script("station"), *words], check=False).returncode
    note("")
    return Exit(code) if code in set(Exit) else Exit.UNIT_FAILED


def _report(config_file: Path, state: Path) -> None:
    note("$ station ledger report")
    subprocess.run([script("station"), "ledger", "report", "--config", str(config_file)], check=False)
    note("\nlook around while nothing runs:")
    note(f"  everything the demo made is in {state}")
    note(
        f"  .venv/bin/station device show DEVICE-ID --config {config_file}   (with openssl: docs/statements.md)"
    )
    note("  .venv/bin/station demo --keep   goes on with this plant (make demo begins anew)")
