"""`station-registry`: make, migrate, serve and look. Imports what a command needs inside it, so that `--help` is quick.

Data on stdout, everything else on stderr. Exit codes: 0 done, 1 not known, 2 usage or set-up, 8 not verified.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from registry.cli.ending import SETUP, one_line
from registry.cli.lazy import LazyGroup
from trust.printable import printable

_INTERRUPTED = 130
_PATH = click.Path(path_type=Path)
_directory = click.option(
    "--dir", "directory", required=True, type=_PATH,
    help="The registry's directory: registry.toml, tls.key, tls.crt, database.",
)  # fmt: skip


_LAZY = {
    "check": (
        "registry.cli.check:check",
        "Verify the whole database; name each row that is not what was signed.",
    ),
    "devices": (
        "registry.cli.devices:devices",
        "Serve devices until SIGTERM: at a bench through the relay, and in the field.",
    ),
    "pin": ("registry.cli.pin:pin", "What is proved about a device's pins, and what was done about them."),
    "station": ("registry.cli.station:station", "Which stations the trust root names; drafts of the next."),
    "user": ("registry.cli.user:user", "Who may sign in, as random ids."),
}


@click.group(cls=LazyGroup, lazy=_LAZY, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keystation", prog_name="station-registry")
def cli() -> None:
    """The registry: what every station pins, kept once, answered with signed receipts.

    \b
    Exit codes: 0 done · 1 the device has no pin (pin), no such user (user), station (station)
    2 usage, refused or set-up · 8 what is stored does not verify (check, pin)
    130 interrupted
    """


@cli.command(short_help="Make TLS key and certificate, database and registry.toml.")
@_directory
@click.option("--name", required=True, help="The registry's name, as the trust root has it: registry-01.")
@click.option("--environment", required=True, help="'demo' or a site's name.")
@click.option("--host", required=True, help="The name or address that stations connect to; goes into the certificate.")
@click.option(
    "--signer-socket",
    help="The cloud-role signer's socket, absolute or from the directory.  [default: ../signer-cloud/run/signer.sock]",
)
@click.option(
    "--database",
    help="A file in the directory, or a server: postgresql+psycopg://ROLE@HOST/NAME.  [default: registry.db]",
)
def init(
    directory: Path, name: str, environment: str, host: str, signer_socket: str | None, database: str | None
) -> None:
    """Make TLS key and certificate, database and registry.toml. Overwrites nothing.

    The tables of a database server are made by its owner: station-registry migrate --owner.
    """
    from registry.settings import FILE, config_of  # noqa: PLC0415 - quick --help
    from registry.setup import make  # noqa: PLC0415

    with one_line():
        config = config_of(name=name, environment=environment, signer_socket=signer_socket, database=database)
        home = make(directory, config, host)
    click.echo(f"made {home.directory}: put {home.tls_certificate} into the trust root as tls_root", err=True)
    socket = home.signer_socket.resolve()
    click.echo(f"its cloud signer: {socket} (if it listens elsewhere: signer_socket in {directory / FILE})", err=True)
    if not home.on_file:
        owner = "URL is the database's, with the role that owns it"
        click.echo(f"next: station-registry migrate --dir {directory} --owner URL ({owner})", err=True)


@cli.command(short_help="Bring the database to this version's schema.")
@_directory
@click.option(
    "--owner",
    help="Of a database server: the URL with the role that owns the tables. The role in registry.toml is granted what "
    "serving needs, and no more.",
)
def migrate(directory: Path, owner: str | None) -> None:
    """Bring the database to this version's schema. Make a backup first."""
    from registry import setup  # noqa: PLC0415
    from registry.settings import Home  # noqa: PLC0415

    with one_line():
        setup.migrate(Home.load(directory), owner)
    click.echo("the database has this version's schema", err=True)


@cli.command(short_help="Serve stations over HTTPS until SIGTERM.")
@_directory
@click.option("--root", required=True, type=_PATH, help="The trust root's file.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8443, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez and /readyz here, too.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="TLS anywhere else than on this machine.")
def serve(directory: Path, root: Path, host: str, port: int, metrics_port: int | None, metrics_host: str) -> None:
    """Serve stations over HTTPS until SIGTERM. Says 'ready' on stderr when it takes connections."""
    from hsm.client import ReceiptClient  # noqa: PLC0415
    from registry.serving import run  # noqa: PLC0415
    from registry.settings import Home  # noqa: PLC0415
    from registry.telemetry import diagnostics  # noqa: PLC0415

    diagnostics.set_up()
    telemetry = None if metrics_port is None else (metrics_host, metrics_port)
    with one_line():
        home = Home.load(directory)
        signer = ReceiptClient(home.signer_socket)
        run(home, root, signer, (host, port), lambda text: click.echo(text, err=True), telemetry=telemetry)


def main() -> None:
    """The console script; what was typed wrong is one sentence with what to type next."""
    try:
        cli.main(prog_name="station-registry", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(SETUP)
    except click.ClickException as error:
        context = getattr(error, "ctx", None) or click.Context(cli, info_name="station-registry")
        click.echo(
            printable(f"station-registry: {error.format_message().rstrip('.')}. Try: {context.command_path} --help"),
            err=True,
        )
        sys.exit(SETUP)
