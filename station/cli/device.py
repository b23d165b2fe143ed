"""`station device`: what is known about one device."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.bringing import revoke, unscrap
from station.cli.called import Here
from station.cli.options import CONFIG
from station.cli.output import data, note
from station.cli.propose import propose
from station.cli.rework import parsed, rework, scrap
from station.exits import Exit

if TYPE_CHECKING:
    from station.history import DeviceHistory, JobView, RegistryView
    from trust.identity import DeviceId


@click.group()
def device() -> None:
    """What is known about a device, and what people approved for one."""


device.add_command(rework)
device.add_command(scrap)
device.add_command(revoke)
device.add_command(unscrap)
device.add_command(propose)


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
    wanted = parsed(device_id)
    here, found = Here(config_file), asyncio.run(_look(config_file, wanted))
    if jsonl:
        data(msgspec.json.encode(found.view).decode())
    else:
        _show(found, here)
    if save is not None:
        _save(found, save)
    if not found.known:
        note(f"station: {here.typeable(_unknown(found.registry))}")
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


def _show(found: DeviceHistory, here: Here) -> None:
    data(f"device    {found.device_id}{', emulated' if found.emulated else ''}")
    data(f"registry  {_registry(found.registry)}")
    if found.registry.fingerprint:
        data(f"key       {found.registry.fingerprint}")
    for job in found.jobs:
        adopted = ", begun at another station" if job.adopted else ""
        data(f"job       {job.job} under order {job.order_id}{adopted}, {_times(job)}")
        data(f"state     {job.state}: {here.typeable(job.text)}")
        if job.handshake:
            data(f"handshake {job.handshake}")
        for record in job.records:
            data(f"    {record.kind:<18}  {record.checked}")
            data(f"        {record.sha256}")
    for each in found.reworks:
        until = f", old key until {each.old_key_until}" if each.old_key_until else ""
        data(f"rework    {each.change} {each.verdict}, {each.code or each.fingerprint}{until}, {each.at}")


def _times(job: JobView) -> str:
    attempts = "1 attempt" if job.attempts == 1 else f"{job.attempts} attempts"
    match job.verified_again:
        case 0:
            return attempts
        case 1:
            return f"{attempts}, verified again once since it passed"
        case times:
            return f"{attempts}, verified again {times} times since it passed"


def _unknown(view: RegistryView) -> str:
    """What to do about an id that leads nowhere."""
    if view.state == "no-answer":
        return (
            "the ledger does not know this id, and the registry does not answer: look at the id, or ask again when the "
            "registry answers (station check --config FILE)"
        )
    return (
        "neither ledger nor registry knows this id: compare it with the device's line on the screen; a device that has "
        "not been in work yet is not known (station check --config FILE shows what is in the slots)"
    )


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
