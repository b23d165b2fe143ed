"""`station-signer ceremony`, `minutes` and `act perform`: what officers do with a signer that does not serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm.cli.asking import (
    DIRECTORY,
    FILE,
    KeyChoice,
    approved_by_you,
    key_options,
    read_envelope,
    require_new,
    stop,
    write_new,
    write_over,
)
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.minutes import Minutes
    from trust.root import TrustedRoot

_DIR = click.option("--dir", "directory", type=DIRECTORY, required=True, help="The signer's directory.")
_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")
_OUT = click.option("--out", type=FILE, required=True, help="New file for the minutes.")


@click.command(short_help="The checklist of a new signer, in front of two officers.")
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
    _write(made, out)


@click.group(short_help="Minutes of ceremonies and acts: shown and approved.")
def minutes() -> None:
    """Minutes of ceremonies and acts, approved by each officer whom they name; a station keeps them in its log."""


@minutes.command(short_help="Show minutes and who approved them.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show minutes, who approved them, and whether they are complete."""
    from trust.minutes import approved_minutes  # noqa: PLC0415 - keeps --help fast
    from trust.statement import StatementError  # noqa: PLC0415

    trusted, envelope = _trusted(root_file), read_envelope(file)
    for line in _lines(envelope, trusted):
        click.echo(printable(line))
    try:
        approved_minutes(envelope, trusted)
    except StatementError as error:
        stop(f"not complete yet: {error}")


@minutes.command(short_help="Approve minutes with your key.")
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve minutes with your own key; the signature goes into the file."""
    trusted, envelope = _trusted(root_file), read_envelope(file)
    roots = [trusted.root, *(each for _, each in trusted.earlier)]
    made = approved_by_you(envelope, _lines(envelope, trusted), mine, *(each.approvers for each in roots), yes=yes)
    write_over(file, made.to_json() + b"\n")
    click.echo(f"the minutes now have {len(made.signatures)} approvals; next: station minutes {file}", err=True)


@click.command(short_help="Do an act on a key, while the signer does not serve.")
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

    close_to_others()
    require_new(out)
    try:
        made = key_acts.perform(directory, root_file, read_envelope(file), _tell)
    except SetupError as error:
        stop(error)
    _write(made, out)


def _tell(what: str, found: str) -> None:
    click.echo(printable(f"ok  {what:<16} {found}"), err=True)


def _write(made: Minutes, out: Path) -> None:
    from trust.statement import envelope  # noqa: PLC0415 - keeps --help fast

    wrapped = envelope(made)
    write_new(out, wrapped.to_json() + b"\n")
    click.echo(wrapped.payload_sha256)
    click.echo(
        f"next: station-signer minutes approve {out} --root ROOT --key KEY, by {', '.join(made.officers)}", err=True
    )


def _trusted(root_file: Path) -> TrustedRoot:
    from hsm.cli.roots import trusted_root  # noqa: PLC0415 - keeps --help fast

    return trusted_root(root_file)


def _lines(envelope: Envelope, trusted: TrustedRoot) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast
    from trust.minutes import Minutes  # noqa: PLC0415
    from trust.statement import StatementError, read  # noqa: PLC0415

    try:
        found = read(envelope, Minutes)
    except StatementError as error:
        stop(error)
    yield f"minutes: {found.subject} of signer {found.signer}, SHA-256 {envelope.payload_sha256}"
    yield from fields(found)
    yield from approved_by(envelope, trusted.root.approvers)
