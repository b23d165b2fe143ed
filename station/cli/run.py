"""`station run`: a batch without a screen."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from station import wiring
from station.cli import views
from station.cli.live import Progress
from station.cli.output import data, is_terminal, note
from station.events import BatchFinished, UnitFinished
from station.exits import Exit
from station.plan import Plan
from station.port import Batch, FloorPort
from station.readiness import rehearse


@click.command()
@click.option(
    "--order",
    "order_file",
    required=True,
    type=click.Path(path_type=Path),
    help="The work order (TOML in environment demo).",
)
@click.option(
    "--config",
    "config_file",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)
@click.option("--slots-file", type=click.Path(path_type=Path), help="Another slots file than the settings'.")
@click.option("--count", type=click.IntRange(min=1), help="Units to bring to a verdict; without it one a slot.")
@click.option("--slots", "slot_names", default="", help="Names of the slots to serve, with commas; without it all.")
@click.option(
    "--retries", type=click.IntRange(min=0), help="Automatic retries of a unit that failed (default: the settings')."
)
@click.option("--jsonl", is_flag=True, help="Every event as one JSON object a line on stdout.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the result as JUnit XML.")
@click.option("--dry-run", is_flag=True, help="Check order, root, slots, signer and registry; touch no device.")
@click.option("--verbose", is_flag=True, help="A line for each step of each unit.")
def run(
    order_file: Path, config_file: Path, slots_file: Path | None, count: int | None, slot_names: str,
    retries: int | None, jsonl: bool, junit: Path | None, dry_run: bool, verbose: bool,
) -> None:  # fmt: skip
    """Provision a batch under an order and exit with the worst result's code."""
    plan = Plan.load(config_file, order_file, slots_file)
    if dry_run:
        asyncio.run(rehearse(plan))
        note(f"dry run: order {plan.work.order_id} could start on {len(plan.slots)} slots; no device was touched")
        return
    chosen = tuple(filter(None, slot_names.split(",")))
    batch = Batch(count=count, slots=chosen, retries=plan.config.limits.retries if retries is None else retries)
    finished, units, interrupted = asyncio.run(_run(plan, batch, jsonl=jsonl, verbose=verbose))
    if junit is not None:
        junit.write_bytes(views.junit(finished, units))
    sys.exit(Exit.INTERRUPTED if interrupted else finished.exit_code)


async def _run(
    plan: Plan, batch: Batch, *, jsonl: bool, verbose: bool
) -> tuple[BatchFinished, list[UnitFinished], bool]:
    interrupted = False

    async with wiring.open_floor(plan, batch.slots) as floor:

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            note("interrupted: units in work come to their end, no further unit is begun")
            floor.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        watcher = asyncio.create_task(_watch(floor, plan, batch, jsonl=jsonl, verbose=verbose))
        await asyncio.sleep(0)
        finished = await floor.run(batch)
        units = await watcher
    return finished, units, interrupted


async def _watch(floor: FloorPort, plan: Plan, batch: Batch, *, jsonl: bool, verbose: bool) -> list[UnitFinished]:
    names = batch.slots or floor.slots
    if is_terminal() and not jsonl and not verbose:
        with Progress(
            f"order {plan.work.order_id} · {plan.work.product} · environment {plan.work.environment}", names
        ) as screen:
            units = []
            async for event in floor.events():
                screen.show(event)
                if isinstance(event, UnitFinished):
                    units.append(event)
                elif isinstance(event, BatchFinished):
                    finished = event
        for unit in units:
            data(views.unit_line(unit))
        data(views.batch_line(finished))
        return units
    return await _watch_lines(floor, jsonl=jsonl, verbose=verbose)


async def _watch_lines(floor: FloorPort, *, jsonl: bool, verbose: bool) -> list[UnitFinished]:
    units = []
    async for event in floor.events():
        if isinstance(event, UnitFinished):
            units.append(event)
        if jsonl:
            data(views.json_line(event))
            continue
        if (line := views.plain_line(event)) is not None:
            data(line)
        if verbose and (line := views.step_line(event)) is not None:
            note(line)
    return units
