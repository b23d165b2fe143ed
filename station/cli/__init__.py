"""`station`: the command line. Parses, calls the floor, renders; holds no flow. Exit codes: docs/operator.md."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from station.cli.called import Here, as_called
from station.cli.lazy import LazyGroup
from station.usage import UsageError

_COMMANDS = {
    "demo": (
        "station.cli.demo:demo",
        "A whole bench on this machine: provisions a batch, audits it, prints the report.",
    ),
    "run": ("station.cli.run:run", "Provision a batch under an order."),
    "check": ("station.cli.check:check", "Before the shift: is everything there and in order?"),
    "order": ("station.cli.order:order", "Work orders at the signer."),
    "act": ("station.cli.order:act", "Have the signer do what two officers approved."),
    "minutes": ("station.cli.order:minutes", "Put approved minutes on record."),
    "device": ("station.cli.device:device", "What is known about a device."),
    "account": ("station.cli.account:account", "Your own account at the registry."),
    "ledger": ("station.cli.ledger:ledger", "The provisioning log."),
}


@click.command(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keystation", prog_name="station")
def cli() -> None:
    """Manufacturing key-provisioning station.

    Gives each device its key pair's place in the world: the device's key pinned in the registry, the cloud's key
    pinned in the device, and a log that proves it.

    \b
    Exit codes: 0 all passed · 1 some unit failed · 2 usage or set-up
    3 quarantined · 4 weak or duplicate key · 5 order exhausted or not valid
    6 line stop · 7 held · 8 audit failed · 130 interrupted
    """


def main(here: Here | None = None) -> None:
    """Entry point: what reaches here becomes plain lines and its exit code. A bug goes on to `station.__main__`."""
    from station.cli.output import note, note_fault, somebody_listens  # noqa: PLC0415 - keeps --help fast
    from station.faults import Fault  # noqa: PLC0415

    somebody_listens()
    here = here or Here()
    try:
        cli.main(prog_name=as_called(), standalone_mode=False, obj=here)
    except click.exceptions.Abort:
        note("interrupted")
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None) or click.Context(cli, info_name=as_called())
        said = error.format_message().rstrip(".")
        note(f"station: {said}{'' if said.endswith('?') else '.'} Try: {context.command_path} --help")
        sys.exit(2)
    except UsageError as error:
        note(f"station: {error}")
        sys.exit(2)
    except Fault as error:
        note_fault(error, here)
        sys.exit(error.row.exit)


def ended_by_bug(here: Here) -> NoReturn:
    """The end of a program that had one: told as the fault `internal`, with its exit code."""
    from station.cli.output import note_fault  # noqa: PLC0415 - keeps --help fast
    from station.faults import fault  # noqa: PLC0415

    found = fault("internal")
    note_fault(found, here)
    sys.exit(found.row.exit)
