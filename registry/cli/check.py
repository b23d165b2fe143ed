"""`station-registry check`: verifies the whole database, and names each row that is not what was signed."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import click

from registry.cli.ending import FOUND, one_line
from trust.printable import counted, printable

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--dir", "directory", required=True, type=_PATH, help="The registry's directory.")
@click.option("--root", required=True, type=_PATH, help="The trust root's file.")
@click.option(
    "--against", type=click.File("rb"), help="What the signer has receipted (station-signer receipts); - is stdin."
)
@click.option("--jsonl", is_flag=True, help="One JSON object a finding.")
def check(directory: Path, root: Path, against: BinaryIO | None, *, jsonl: bool) -> None:
    """Verify every device's statements, orders, approvals, receipts and acts, and name each row that is not as it was.

    The counts of orders and stations are recomputed. What is gone with all that belonged to it is seen with --against
    alone, by the memory of the registry's signer; people and their roles are signed by nobody. Reads only, and may run
    beside the registry; what is written meanwhile is looked at or not. A receipt or revocation is also missing where
    the registry's signer was silent: GET /v1/devices/ID has it signed within seven days.

    \b
    Exit codes: 0 nothing found · 2 usage or set-up · 8 something found · 130 interrupted
    """
    import msgspec  # noqa: PLC0415 - quick --help

    from registry.checking import findings  # noqa: PLC0415 - quick --help
    from registry.checking.receipts import gone  # noqa: PLC0415
    from registry.clock import utc_now  # noqa: PLC0415
    from registry.opening import open_database  # noqa: PLC0415
    from registry.settings import Home  # noqa: PLC0415
    from registry.startup import load_root  # noqa: PLC0415

    began, number = time.monotonic(), 0
    with one_line():
        trusted = load_root(root)
        with closing(open_database(Home.load(directory), patient=True)) as database:
            devices = findings.devices(database)
            compared = () if against is None else gone(database, against)
            for each in chain(findings.findings(database, trusted, utc_now()), compared):
                number += 1
                click.echo(msgspec.json.encode(each).decode() if jsonl else printable(str(each)))
    took = f"{counted(devices, 'device')} in {time.monotonic() - began:.1f} s"
    click.echo(f"{took}: {counted(number, 'finding') if number else 'nothing found'}", err=True)
    sys.exit(FOUND if number else 0)
