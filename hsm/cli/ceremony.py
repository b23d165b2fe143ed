"""`station-signer ceremony`, `minutes` and `act perform`: what officers do with a signer that does not serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm.cli.asking import (
    DIRECTORY,
    FILE,
    Judges,
    KeyChoice,
    approved_by_you,
    key_options,
    read_envelope,
    require_new,
    stop,
    write_new,
    write_over,
)
from hsm.cli.typed import ASKING, Command, Group
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.minutes import Minutes
    from trust.root import TrustedRoot

_DIR = click.option("--dir", "directory", type=DIRECTORY, required=True, help="The signer's directory.")
_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")
_OUT = click.option("--out", type=FILE, required=True, help="New file for the minutes.")


@click.command(cls=Command, short_help="The checklist of a new signer, in front of two officers.")
@_DIR
@_ROOT
@click.option("--sha256", required=True, help="The root's fingerprint, as each officer has it.")
@click.option(
    "--officer", "officers", multiple=True, required=True, help="Name of an officer who is there. Repeatable."
)
@_OUT
def ceremony(directory: Path, root_file: Path, sha256: str, officers: tuple[str, ...], out: Path) -> None:
    """The checklist of a new signer, in front of two officers: token, keys, root, counters, self-test, minutes.

    Comes after station-signer init, and after the root that names its keys is approved. The signer must not serve.
    """
    from hsm.checklist import hold_ceremony  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415
    from hsm.hardening import close_to_others  # noqa: PLC0415

    close_to_others()
    require_new(out)
    try:
        made = hold_ceremony(directory, root_file, sha256, officers, _tell)
    except SetupError as error:
        stop(error)
    _write(made, out, root_file)


@click.group(cls=Group, short_help="Minutes of ceremonies and acts: shown and approved.")
def minutes() -> None:
    """Minutes of ceremonies and acts, approved by each officer whom they name; a station keeps them in its log."""


@minutes.command(short_help="Show minutes and who approved them.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show minutes, who approved them, and whether they are complete."""
    from trust.kinds import MINUTES  # noqa: PLC0415 - keeps --help fast
    from trust.minutes import approved_minutes  # noqa: PLC0415
    from trust.statement import StatementError  # noqa: PLC0415

    trusted, envelope = _trusted(root_file), read_envelope(file, MINUTES)
    for line in _lines(envelope, trusted, file):
        click.echo(printable(line))
    try:
        found = approved_minutes(envelope, trusted)
    except StatementError as error:
        stop(f"not complete yet: {error}")
    click.echo(f"holds             approved by {' and '.join(found.officers)}, whom they name")


@minutes.command(short_help="Approve minutes with your key.", exits=ASKING)
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve minutes with your own key; the signature goes into the file."""
    from hsm.cli.standing import of_minutes  # noqa: PLC0415 - keeps --help fast
    from trust.kinds import MINUTES  # noqa: PLC0415

    trusted, envelope = _trusted(root_file), read_envelope(file, MINUTES)
    lines = list(_lines(envelope, trusted, file))
    made = approved_by_you(envelope, iter(lines), mine, _judges(envelope, trusted, file), yes=yes)
    if made is not envelope:
        write_over(file, made.to_json() + b"\n")
    click.echo(printable(of_minutes(made, trusted, file, root_file)), err=True)


def _judges(envelope: Envelope, trusted: TrustedRoot, file: Path) -> Judges:
    """Officers whom the minutes name, as the version of the root has them that the minutes are of."""
    from trust.approval import having  # noqa: PLC0415 - keeps --help fast
    from trust.minutes import Minutes  # noqa: PLC0415
    from trust.root import RootError  # noqa: PLC0415
    from trust.statement import read  # noqa: PLC0415

    found = read(envelope, Minutes)
    try:
        known = trusted.at(found.root_sha256).approvers
    except RootError as error:
        stop(f"{file}: {error}: give the root that they were made under, or a newer version of it; nothing was done")
    named = {name: each for name, each in having(known, "officer").items() if name in found.officers}
    return Judges(lists=(named,), wanted=f"the officers whom they name, {' and '.join(found.officers)}", known=known)


@click.command(cls=Command, short_help="Do an act on a key, while the signer does not serve.")
@click.argument("file", type=FILE)
@_DIR
@_ROOT
@_OUT
def perform(file: Path, directory: Path, root_file: Path, out: Path) -> None:
    """Do an act on a key (replace-key, destroy-key), while the signer does not serve; writes its minutes.

    The same act again does what a crash has left undone, and of an act that is done it gives the minutes again.
    """
    from hsm import key_acts  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415
    from hsm.hardening import close_to_others  # noqa: PLC0415
    from trust.kinds import ACT  # noqa: PLC0415

    close_to_others()
    require_new(out)
    try:
        made = key_acts.perform(directory, root_file, read_envelope(file, ACT), _tell)
    except SetupError as error:
        stop(error)
    _write(made, out, root_file)


def _tell(what: str, found: str) -> None:
    click.echo(printable(f"ok  {what:<16} {found}"), err=True)


def _write(made: Minutes, out: Path, root_file: Path) -> None:
    from trust.statement import envelope  # noqa: PLC0415 - keeps --help fast

    wrapped = envelope(made)
    write_new(out, wrapped.to_json() + b"\n")
    click.echo(wrapped.payload_sha256)
    command = f"station-signer minutes approve {out} --root {root_file} --key KEY"
    click.echo(printable(f"next: {command}, by {' and '.join(made.officers)}"), err=True)


def _trusted(root_file: Path) -> TrustedRoot:
    from hsm.cli.roots import trusted_root  # noqa: PLC0415 - keeps --help fast

    return trusted_root(root_file)


def _lines(envelope: Envelope, trusted: TrustedRoot, file: Path) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast
    from trust.minutes import Minutes  # noqa: PLC0415
    from trust.statement import StatementError, read  # noqa: PLC0415

    try:
        found = read(envelope, Minutes)
    except StatementError as error:
        stop(f"{file}: {error}")
    yield f"minutes: {found.subject} of signer {found.signer}, SHA-256 {envelope.payload_sha256}"
    yield from fields(found)
    yield from approved_by(envelope, trusted.root.approvers)
