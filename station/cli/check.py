"""`station check`: before the shift."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from station.cli.output import data
from station.exits import Exit
from station.readiness import Readiness


@click.command()
@click.option(
    "--config",
    "config_file",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)
@click.option("--order", "order_file", type=click.Path(path_type=Path), help="Check this order, too.")
@click.option("--jsonl", is_flag=True, help="One JSON object a finding.")
def check(config_file: Path, order_file: Path | None, jsonl: bool) -> None:
    """Look at ports, presence, signer, registry, proxy, ledger, disk, clock, root and order; exits 2 if one is bad."""
    findings = asyncio.run(Readiness(config_file, order_file).all())
    for each in findings:
        if jsonl:
            data(msgspec.json.encode({"subject": each.subject, "good": each.good, "text": each.text}).decode())
        else:
            data(f"{'ok ' if each.good else 'BAD'}  {each.subject:<10} {each.text}")
    if not all(each.good for each in findings):
        sys.exit(Exit.USAGE)
