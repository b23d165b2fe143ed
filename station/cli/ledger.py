"""`station ledger`: the provisioning log, read by people and auditors."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from station import wiring
from station.cli.output import data, note
from station.exits import Exit
from station.jobs.queries import Tally
from trust.merkle import Frontier

_CONFIG = click.option(
    "--config",
    "config_file",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)


@click.group()
def ledger() -> None:
    """The provisioning log."""


@ledger.command()
@_CONFIG
def verify(config_file: Path) -> None:
    """Recompute the whole log from row 1 and check every signature; exits 8 and names the first bad row otherwise."""
    report = wiring.audit_ledger(config_file)
    for finding in report.findings:
        data(f"BAD  {finding}")
    if report.findings:
        note("the ledger was touched or damaged: keep a copy of the file, do not use it, call the security officer")
        sys.exit(Exit.AUDIT_FAILED)
    data(f"ledger verifies: {report.summary}")


@ledger.command()
@_CONFIG
def report(config_file: Path) -> None:
    """How far the units of each order got."""
    tallies, tip = asyncio.run(_tallies(config_file))
    data(f"{'order':<28} {'units':>6} {'passed':>7} {'active':>7} {'held':>5} {'lost':>5} {'in work':>8}")
    for order, tally in tallies.items():
        in_work = tally.opened + tally.intended
        held = tally.signed + tally.pinned
        row = (
            f"{order:<28} {tally.jobs:>6} {tally.passed:>7} {tally.active:>7} {held:>5} {tally.refused:>5} {in_work:>8}"
        )
        data(row)
    data(f"log: {tip.size} leaves, root hash {tip.root.hex()}")


async def _tallies(config_file: Path) -> tuple[dict[str, Tally], Frontier]:
    async with wiring.reading_ledger(config_file) as store:
        return {order: await store.tally(order) for order in await store.orders()}, await store.tip()
