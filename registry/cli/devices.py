"""`station-registry devices`: the device service's process, beside the registry's."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.ending import one_line

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--dir", "directory", required=True, type=_PATH, help="The registry's directory.")
@click.option("--root", required=True, type=_PATH, help="The trust root's file.")
def devices(directory: Path, root: Path) -> None:
    """Serve the devices' handshakes until SIGTERM. Says 'ready' on stderr when it takes them.

    Those of the bench relay come through the registry by the socket `relay_socket` of registry.toml. Settings are in
    its table `devices`. Start the cloud signer first.
    """
    from registry.device_service.running import run  # noqa: PLC0415 - quick --help
    from registry.settings import Home  # noqa: PLC0415
    from registry.telemetry import diagnostics  # noqa: PLC0415

    diagnostics.set_up()
    with one_line():
        run(Home.load(directory), root, lambda text: click.echo(text, err=True))
