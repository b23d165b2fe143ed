"""`station demo`: the whole plant on this machine, then the same commands that an operator would type."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from station.cli.options import config_option
from station.usage import UsageError


@click.command()
@click.option(
    "--bench",
    "board",
    type=click.Choice(["emulated", "native", "in-process"]),
    show_default="native, or the kept plant's",
    help="What the devices are.",
)
@click.option(
    "--devices",
    type=click.IntRange(1, 256),
    show_default="8, or the kept plant's",
    help="How many; a quarter of them RSA.",
)
@config_option("config.example.toml")
@click.option("--keep", is_flag=True, help="Go on with the last demo's plant: devices that passed are verified again.")
@click.option(
    "--discard", is_flag=True, help="Throw the last demo's plant away even if units or statements wait in it."
)
def demo(board: str | None, devices: int | None, config_file: Path, keep: bool, discard: bool) -> None:
    """A whole bench on this machine: provisions devices under two orders, audits the ledger, prints the report."""
    from station.cli.story import Wish, play  # noqa: PLC0415 - keeps --help fast

    if keep and discard:
        raise UsageError("--keep and --discard: one or the other")
    sys.exit(play(config_file, Wish(board, devices, keep, discard)))
