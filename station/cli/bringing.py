"""`station device revoke` and `unscrap`: what two people approved for a pin, brought to the registry from here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.asking import sign_in
from station.cli.options import CONFIG
from station.cli.output import data
from station.cli.rework import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from station.rework.bringing import Kind

_FILE = click.Path(dir_okay=False, path_type=Path)


def _act(kind: Kind) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What both commands take."""

    def given(command: Callable[..., None]) -> Callable[..., None]:
        told = f"The approved act (station-signer device new --{kind})."
        command = click.option("--jsonl", is_flag=True, help="One JSON object.")(CONFIG(command))
        command = click.option("--act", "act_file", type=_FILE, required=True, help=told)(command)
        return click.argument("device_id")(command)

    return given


@click.command(short_help="End a device's key, by an approved act.")
@_act("revoke")
def revoke(device_id: str, act_file: Path, config_file: Path, *, jsonl: bool) -> None:
    """End a device's key at the registry, as an approved act wants; asks who you are: a lead or an engineer.

    Nothing of this station's own changes, and the unit need not be there. The same act again changes nothing.
    """
    _brought("revoke", device_id, act_file, config_file, jsonl=jsonl)


@click.command(short_help="Take a device's scrap back, by an approved act.")
@_act("unscrap")
def unscrap(device_id: str, act_file: Path, config_file: Path, *, jsonl: bool) -> None:
    """Take the scrap of a finished device back, as an approved act wants; asks who you are: a lead or an engineer.

    It is what it was before. Its station's signer signs nothing more for it. The same act again changes nothing.
    """
    _brought("unscrap", device_id, act_file, config_file, jsonl=jsonl)


def _brought(kind: Kind, device_id: str, act_file: Path, config_file: Path, *, jsonl: bool) -> None:
    from station.rework import bringing  # noqa: PLC0415 - keeps --help fast
    from station.rework.acts import Asked  # noqa: PLC0415

    device = parsed(device_id)
    ready = bringing.ready(Asked(config_file=config_file, device=device, act_file=act_file), kind)
    found = asyncio.run(bringing.bring(ready, sign_in("nothing was done")))
    if jsonl:
        said = {"device_id": str(device), "order_id": found.order_id, "state": found.state, "before": found.before}
        data(msgspec.json.encode(said).decode())
        return
    before = "done before" if found.before else "done"
    data(f"{before}: {kind} of device {device} of order {found.order_id}; it is {found.state} by this")
