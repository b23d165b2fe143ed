"""`station run`: a batch without a screen."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from station.cli.called import Here
from station.cli.options import CONFIG, SLOTS, SLOTS_FILE


@click.command()
@click.option(
    "--order",
    "order_file",
    required=True,
    type=click.Path(path_type=Path),
    help="The work order (TOML in environment demo).",
)
@CONFIG
@SLOTS_FILE
@click.option("--count", type=click.IntRange(min=1), help="Units to bring to a verdict; without it one a slot.")
@SLOTS
@click.option(
    "--retries", type=click.IntRange(min=0), help="Automatic retries of a unit that failed (default: the settings')."
)
@click.option("--jsonl", is_flag=True, help="Every event as one JSON object a line on stdout.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write the result as JUnit XML.")
@click.option("--dry-run", is_flag=True, help="Check order, root, slots, signer and registry; touch no device.")
@click.option("--verbose", is_flag=True, help="A line for each step of each unit.")
def run(
    order_file: Path, config_file: Path, slots_file: Path | None, count: int | None, slots: tuple[str, ...],
    retries: int | None, jsonl: bool, junit: Path | None, dry_run: bool, verbose: bool,
) -> None:  # fmt: skip
    """Provision a batch under an order and exit with the worst result's code."""
    from station.cli import batch  # noqa: PLC0415 - keeps --help fast
    from station.plan import Plan  # noqa: PLC0415
    from station.port import Batch  # noqa: PLC0415

    if junit is not None and not junit.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {junit.parent}: make it first", param_hint="--junit")
    plan = Plan.load(config_file, order_file, slots_file)
    if dry_run:
        sys.exit(batch.rehearsed(plan, slots, jsonl=jsonl))
    tries = plan.config.limits.retries if retries is None else retries
    how = batch.How(jsonl=jsonl, verbose=verbose, junit=junit, here=Here(config_file))
    sys.exit(batch.provisioned(plan, Batch(count=count, slots=slots, retries=tries), how))
