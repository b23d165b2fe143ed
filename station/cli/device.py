"""`station device`: what is known about one device."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from station import wiring
from station.cli.output import data, note
from station.exits import Exit
from station.faults import fault
from station.history import DeviceHistory, device_history
from trust.identity import DeviceId, IdentityError


@click.group()
def device() -> None:
    """What is known about a device."""


@device.command()
@click.argument("device_id")
@click.option(
    "--config",
    "config_file",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)
@click.option("--jsonl", is_flag=True, help="One JSON object.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write statements, signatures and keys into this directory, for openssl.",
)
def show(device_id: str, config_file: Path, jsonl: bool, save: Path | None) -> None:
    """Jobs, statements and pin state of a device; exits 1 if neither ledger nor registry knows it."""
    try:
        wanted = DeviceId.parse(device_id)
    except IdentityError as error:
        raise fault("setup", str(error)) from error
    found = asyncio.run(_look(config_file, wanted))
    if jsonl:
        data(msgspec.json.encode(found.view).decode())
    else:
        _show(found)
    if save is not None:
        for path in found.save(save):
            note(f"wrote {path}")
    if not found.known:
        sys.exit(Exit.UNIT_FAILED)


async def _look(config_file: Path, wanted: DeviceId) -> DeviceHistory:
    async with wiring.reader(config_file) as reader:
        return await device_history(reader, wanted)


def _show(found: DeviceHistory) -> None:
    data(f"device    {found.device_id}")
    data(f"registry  {found.registry}")
    for job in found.jobs:
        adopted = ", begun at another station" if job.adopted else ""
        data(f"job       {job.job} under order {job.order_id}{adopted}: {job.attempts} attempts")
        for record in job.records:
            data(f"          {record.kind:<20} {record.sha256}  {record.checked}")
