"""`station-registry pin`: what is proved about a device's pins, at the registry's machine. Reads the database only."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.ending import FOUND, NOT_KNOWN, end, one_line
from trust.printable import printable

if TYPE_CHECKING:
    from registry.pins.reading import Reading

_PATH = click.Path(path_type=Path)
_directory = click.option("--dir", "directory", required=True, type=_PATH, help="The registry's directory.")
_root = click.option("--root", required=True, type=_PATH, help="The trust root's file.")
_jsonl = click.option("--jsonl", is_flag=True, help="JSON, one object a line.")


@click.group()
def pin() -> None:
    """What is proved about a device's keys, and what was done about them.

    \b
    Exit codes: 0 done · 1 the device has no pin · 2 usage or set-up · 8 what is stored does not verify
    130 interrupted
    """


@pin.command(short_help="A device's keys, each with its state now.")
@_directory
@_root
@_jsonl
@click.argument("device")
def show(directory: Path, root: Path, device: str, *, jsonl: bool) -> None:
    """The keys of DEVICE (24 hex digits), oldest first, each verified and with its state now."""
    from registry.device_messages import device_answer  # noqa: PLC0415 - quick --help

    found = _read(directory, root, device)
    if jsonl:
        click.echo(device_answer(found).decode())
        return
    pin = found.papers.pin
    click.echo(f"device {found.device_id}: {found.state}")
    emulated = ", emulated" if pin.declared.emulated else ""
    click.echo(printable(f"order {pin.order_id} {pin.order_sha256}, station {pin.station}, job {pin.job}{emulated}"))
    for each in found.keys:
        until = "" if each.until is None else f", until {each.until}"
        click.echo(f"{each.state:<12} {each.key.fingerprint}  since {each.since}{until}")


@pin.command(short_help="What people have had done about a device's pins.")
@_directory
@_root
@_jsonl
@click.argument("device")
def acts(directory: Path, root: Path, device: str, *, jsonl: bool) -> None:
    """The acts on the pins of DEVICE (24 hex digits), oldest first: when, what, why, and by whose signatures.

    Then what acts have let it do that no pin shows: be opened, or get another anchor.
    """
    import msgspec  # noqa: PLC0415 - quick --help

    from registry.approvals import who  # noqa: PLC0415
    from registry.startup import load_root  # noqa: PLC0415
    from trust.pin_act import body  # noqa: PLC0415

    found, trusted = _read(directory, root, device), load_root(root)
    if not found.deeds and not found.words:
        click.echo(f"nobody has had anything done about the pins of device {found.device_id}", err=True)
    for each in found.deeds:
        names = who(each.envelope, trusted, each.act.root_sha256)
        if jsonl:
            shown = {"at": each.at, "by": names, "state": each.life.state, "act": msgspec.to_builtins(each.act)}
            click.echo(msgspec.json.encode(shown).decode())
            continue
        words = f"{each.at}  {each.act.kind:<8} by {' and '.join(names)}: {each.act.reason}; then {each.life.state}"
        click.echo(printable(words))
    for said in found.words:
        act = body(said.act)
        names = who(said.act, trusted, act.root_sha256)
        if jsonl:
            word = {"at": said.at, "by": names, "word": said.step, "act": msgspec.to_builtins(act)}
            click.echo(msgspec.json.encode(word).decode())
            continue
        click.echo(printable(f"{said.at}  {said.step:<10} let by {' and '.join(names)}: {act.reason}"))


def _read(directory: Path, root: Path, device: str) -> Reading:
    from registry.clock import utc_now  # noqa: PLC0415 - quick --help
    from registry.opening import open_database  # noqa: PLC0415
    from registry.pins.reading import UntrustedError, current  # noqa: PLC0415
    from registry.pins.rows import of_device  # noqa: PLC0415
    from registry.settings import Home  # noqa: PLC0415
    from registry.startup import load_root  # noqa: PLC0415
    from trust.identity import DeviceId, IdentityError  # noqa: PLC0415

    try:
        wanted = str(DeviceId.parse(device))
    except IdentityError as error:
        end(str(error))
    with one_line():
        trusted = load_root(root)
        with closing(open_database(Home.load(directory))) as database, database.read() as connection:
            rows = of_device(connection, wanted)
    if rows is None:
        end(f"device {wanted} has no pin here", NOT_KNOWN)
    try:
        return current(rows, trusted, utc_now())
    except UntrustedError as error:
        for each in error.findings:
            click.echo(printable(str(each)), err=True)
        end("what is stored about this device does not verify: nothing of it is told", FOUND)
