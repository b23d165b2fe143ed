"""`station-signer`: make a signer, serve it, look at it. Starts fast: everything heavy is imported inside its command.

Public facts go to stdout, everything else to stderr. Never takes a PIN as an option.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from hsm.cli.act import act
from hsm.cli.approver import approver
from hsm.cli.ceremony import ceremony, minutes, perform
from hsm.cli.device import device
from hsm.cli.order import order
from hsm.cli.public import public
from hsm.cli.root import root
from hsm.cli.typed import INTERRUPTED, LINE_STOPPED, SETUP_FAILED, USUAL, Group, what_next
from trust.printable import printable

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keystation", prog_name="station-signer")
def cli() -> None:
    """The signer: keys on a PKCS#11 token, and the policy that guards them.

    One directory is one signer, of one role: the factory's or the cloud's.
    """


@cli.command(short_help="Make a signer: one key a purpose in a token, counters, public.json.")
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="New directory for this signer.")
@click.option("--role", type=click.Choice(["factory", "cloud"]), required=True, help="Whose keys it holds.")
@click.option("--name", required=True, help="The station's name, or for the cloud role the registry's.")
@click.option("--environment", default="demo", show_default=True, help="Stands in every statement and in the root.")
@click.option("--module", help="PKCS#11 module; without it SoftHSM is looked for where packages put it.")
@click.option("--profile", default="", help="The module's kind, if its token does not show it (docs/modules.md).")
@click.option("--token", help="Label of an initialised token to make the keys in; without it a soft token is made.")
@click.option("--user-pin", help="With --token: where its user PIN is, file:/absolute/path or cred:NAME.")
@click.option("--socket", help="Where to listen, relative to --dir.  [default: run/signer.sock]")
def init(directory: Path, name: str, token: str | None, user_pin: str | None, **more: Any) -> None:
    """Make a signer: one key a purpose in a token, counters, public.json for the trust root.

    Never overwrites anything. Without --token it makes a soft token, whose PINs are made at random and kept in files of
    mode 0600. With --token the keys are made in a token that the vendor's tools have made; a PIN is never an option.
    """
    from hsm.config import SetupError  # noqa: PLC0415 - keeps --help fast
    from hsm.hardening import close_to_others  # noqa: PLC0415
    from hsm.initialise import Existing, make_signer  # noqa: PLC0415
    from hsm.place import PUBLIC_FILE  # noqa: PLC0415

    if (token is None) != (user_pin is None):
        raise click.UsageError("--token and --user-pin go together")
    existing = Existing(label=token, user_pin=user_pin) if token is not None and user_pin is not None else None
    close_to_others()
    try:
        made = make_signer(directory, name=name, token=existing, **more)
    except SetupError as error:
        _stop(error)
    click.echo(f"{more['role']} signer {name} ({more['environment']}) made in {directory}", err=True)
    click.echo(f"module: {printable(made.profile)}", err=True)
    if existing is None and more["environment"] != "demo":
        text = "serve takes this soft token only under a trust root that says soft_tokens = true"
        click.echo(f"take care: outside demo {text}; with --token the keys are made in a hardware token", err=True)
    click.echo(f"keys: {', '.join(sorted(made.keys))}; public halves in {directory / PUBLIC_FILE}", err=True)
    click.echo(f"next: put them into the trust root, then station-signer serve --dir {directory} --root ROOT", err=True)


@cli.command(short_help="Serve the signer on its socket until SIGTERM.", exits=(*USUAL, LINE_STOPPED))
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="The signer's directory.")
@click.option(
    "--root", "root_file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The trust root's file."
)
def serve(directory: Path, root_file: Path) -> None:
    """Serve the signer on its socket until SIGTERM; says "ready: …" with name and socket when it listens."""
    import logging  # noqa: PLC0415

    from hsm.config import SetupError  # noqa: PLC0415
    from hsm.service import serve as run  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(directory, root_file, lambda who: click.echo(printable(f"ready: {who}"), err=True))
    except SetupError as error:
        _stop(error)


@cli.command(short_help="Show role, keys and counts of a signer that is serving.", exits=(*USUAL, LINE_STOPPED))
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="The signer's directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(directory: Path, *, as_json: bool) -> None:
    """Show role, keys and counts of a signer that is serving; exit code 6 when it does not answer."""
    import asyncio  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from hsm import config  # noqa: PLC0415
    from hsm.cli.output import status_lines  # noqa: PLC0415
    from hsm.client import SignerClient  # noqa: PLC0415
    from hsm.line import NOT_RUNNING  # noqa: PLC0415
    from hsm.signer import SignerError, SignerUnavailableError  # noqa: PLC0415

    try:
        path = config.socket_path(directory, config.load(directory))
        found = asyncio.run(SignerClient(path).status())
    except config.SetupError as error:
        _stop(error)
    except SignerUnavailableError as error:
        start = f"start it (station-signer serve --dir {directory} --root ROOT, or its unit), and "
        _stop(f"{error}; {start if str(error).endswith(NOT_RUNNING) else ''}read its log", LINE_STOPPED)
    except SignerError as error:
        _stop(error, LINE_STOPPED)
    for line in [msgspec.json.encode(found).decode()] if as_json else status_lines(found):
        click.echo(printable(line))


@cli.command(short_help="List what a cloud signer has receipted, for the registry's check.")
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="The signer's directory.")
def receipts(directory: Path) -> None:
    """List what a cloud signer has receipted, one JSON object a line: for station-registry check --against.

    Reads the signer's counters, as its user; it may be serving.
    """
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from hsm.counters.file import StoreError  # noqa: PLC0415
    from hsm.counters.receipted import receipted  # noqa: PLC0415
    from hsm.place import COUNTERS_FILE  # noqa: PLC0415

    try:
        for each in receipted(directory / COUNTERS_FILE):
            click.echo(msgspec.json.encode(each))
    except StoreError as error:
        _stop(error)


@cli.command(short_help="Print the systemd unit for a signer.")
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="The signer's directory.")
@click.option(
    "--root", "root_file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The trust root's file."
)
@click.option(
    "--profile",
    type=click.Choice(["softhsm", "pcscd", "usb", "usb-connector", "network"]),
    default="softhsm",
    show_default=True,
    help="How the PKCS#11 module reaches its token.",
)
@click.option("--address", "addresses", multiple=True, help="Profile network: the token's address. Repeatable.")
@click.option("--device", "devices", multiple=True, help="Profile usb: the token's node below /dev. Repeatable.")
@click.option("--user", default="", help="Runs as this user.  [default: signer-ROLE]")
@click.option(
    "--group", default="", help="And this group, which the station's user shares.  [default: the user's name]"
)
def unit(directory: Path, root_file: Path, profile: str, **options: str | tuple[str, ...]) -> None:
    """Print the systemd unit for a signer: hardened, open to its token and nothing else.

    \b
    softhsm        files in the signer's directory: no network, no device
    pcscd          a smart card through pcscd's socket (Nitrokey HSM, SmartCard-HSM): no network, no device
    usb            a USB device by its node (YubiHSM 2): the nodes of --device only
    usb-connector  yubihsm-connector on this machine: the loopback addresses only
    network        a module that is a network client (Luna, CloudHSM): the addresses of --address only
    """
    from hsm import config  # noqa: PLC0415
    from hsm.unit import Installation, hidden, render  # noqa: PLC0415

    command = Path(sys.executable).with_name("station-signer")
    try:
        where = Installation(directory=directory, root=root_file, command=command, profile=profile, **options)  # type: ignore[arg-type]
        text = render(config.load(directory), where)
    except config.SetupError as error:
        _stop(error)
    for each in hidden(where):
        click.echo(printable(f"station-signer: the unit will not see {each}: install it elsewhere"), err=True)
    click.echo(text, nl=False)


@cli.command("retry-pin", short_help="Let a user PIN that the token refused be tried once more.")
@click.option("--dir", "directory", type=_DIRECTORY, required=True, help="The signer's directory.")
def retry_pin(directory: Path) -> None:
    """Let a user PIN that the token refused, or did not answer, be tried once more: after you have seen to it.

    Each wrong try brings the token nearer to its lock. A corrected user_pin needs no retry-pin.
    """
    from hsm import config  # noqa: PLC0415
    from hsm.token import pin_tries  # noqa: PLC0415
    from trust.printable import plainly  # noqa: PLC0415

    try:
        config.load(directory)
        there = pin_tries.forget(directory)
    except config.SetupError as error:
        _stop(error)
    except OSError as error:
        _stop(config.SetupError(f"{directory / pin_tries.FILE}: {plainly(error)}"))
    click.echo("the user PIN is tried once more at the next start" if there else "no try was in vain", err=True)


cli.add_command(approver)
cli.add_command(public)
cli.add_command(root)
cli.add_command(order)
cli.add_command(act)
cli.add_command(device)
cli.add_command(ceremony)
cli.add_command(minutes)
act.add_command(perform)


def main() -> None:
    """The console script; what was typed wrong is one sentence with what to type next."""
    try:
        cli.main(prog_name="station-signer", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("station-signer: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(SETUP_FAILED)
    except click.ClickException as error:
        click.echo(printable(f"station-signer: {what_next(error, 'station-signer')}"), err=True)
        sys.exit(SETUP_FAILED)


def _stop(error: Exception | str, code: int = SETUP_FAILED) -> NoReturn:
    click.echo(printable(f"station-signer: {error}"), err=True)
    sys.exit(code)
