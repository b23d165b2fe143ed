"""`station device`: what is known about one device."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.options import CONFIG
from station.cli.output import data, note
from station.exits import Exit

if TYPE_CHECKING:
    from station.history import DeviceHistory, RegistryView
    from trust.identity import DeviceId


@click.group()
def device() -> None:
    """What is known about a device."""


@device.command(short_help="Jobs, statements and pin state of a device.")
@click.argument("device_id")
@CONFIG
@click.option("--jsonl", is_flag=True, help="One JSON object.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write statements, signatures and keys into this directory, for openssl.",
)
def show(device_id: str, config_file: Path, jsonl: bool, save: Path | None) -> None:
    """Jobs, statements and pin state of a device; exits 1 if neither ledger nor registry knows it."""
    from trust.identity import DeviceId, IdentityError  # noqa: PLC0415 - keeps --help fast

    try:
        wanted = DeviceId.parse(device_id)
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="DEVICE_ID") from error
    found = asyncio.run(_look(config_file, wanted))
    if jsonl:
        data(msgspec.json.encode(found.view).decode())
    else:
        _show(found)
    if save is not None:
        _save(found, save)
    if not found.known:
        sys.exit(Exit.UNIT_FAILED)


async def _look(config_file: Path, wanted: DeviceId) -> DeviceHistory:
    from station import wiring  # noqa: PLC0415
    from station.history import device_history  # noqa: PLC0415

    async with wiring.reader(config_file) as reader:
        return await device_history(reader, wanted)


def _save(found: DeviceHistory, directory: Path) -> None:
    try:
        for path in found.save(directory):
            note(f"wrote {path}")
    except OSError as error:
        raise click.BadParameter(f"{error.filename}: {error.strerror}", param_hint="--save") from error


def _show(found: DeviceHistory) -> None:
    data(f"device    {found.device_id}")
    data(f"registry  {_registry(found.registry)}")
    if found.registry.fingerprint:
        data(f"key       {found.registry.fingerprint}")
    for job in found.jobs:
        adopted = ", begun at another station" if job.adopted else ""
        times = "1 attempt" if job.attempts == 1 else f"{job.attempts} attempts"
        data(f"job       {job.job} under order {job.order_id}{adopted}, {times}")
        for record in job.records:
            data(f"    {record.kind:<18}  {record.checked}")
            data(f"        {record.sha256}")


def _registry(view: RegistryView) -> str:
    match view.state:
        case "not-pinned":
            return "no pin"
        case "no-answer":
            return f"no answer: {view.detail}"
        case "not-trusted":
            return f"NOT TRUSTED: {view.detail}"
        case _:
            return f"{view.state}, pinned by station {view.station}, signatures verified"
