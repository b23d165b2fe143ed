"""`station-registry devices`: the device service's process, beside the registry's."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.ending import one_line

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--dir", "directory", required=True, type=_PATH, help="The registry's directory.")
@click.option("--root", required=True, type=_PATH, help="The trust root's file.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics here; 0 takes a free one.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="TLS anywhere else than on this machine.")
def devices(directory: Path, root: Path, metrics_port: int | None, metrics_host: str) -> None:
    """Serve devices until SIGTERM. Says 'ready' on stderr when it takes them.

    Units at a bench come through the registry by the socket `relay_socket` of registry.toml; those in the field to the
    addresses `tcp` and `udp` of its table `devices`, if there are any. Start the cloud signer first.
    """
    from registry.device_service.running import run  # noqa: PLC0415 - quick --help
    from registry.settings import Home  # noqa: PLC0415
    from registry.telemetry import diagnostics  # noqa: PLC0415

    diagnostics.set_up()
    with one_line():
        telemetry = None if metrics_port is None else (metrics_host, metrics_port)
        run(Home.load(directory), root, lambda text: click.echo(text, err=True), telemetry=telemetry)
