"""`station-signer root`: make, show, approve and take up the trust root's versions."""

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
    read_given,
    stop,
    write_new,
    write_over,
)
from hsm.cli.typed import ASKING, Group
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.root import Root


@click.group(cls=Group, short_help="The trust root: made, shown, approved, taken up.")
def root() -> None:
    """The trust root: the one document that names trusted keys."""


@root.command(short_help="Write the next version, or the first one.")
@click.option("--from", "source", type=FILE, required=True, help="TOML that names people and key files.")
@click.option("--previous", type=FILE, help="The root's file so far.  [default: this is the first version]")
@click.option("--out", type=FILE, required=True, help="New file with one more version, not approved yet.")
def new(source: Path, previous: Path | None, out: Path) -> None:
    """Write the next version of the root, or the first one; people approve it then."""
    from hsm.config import SetupError  # noqa: PLC0415 - keeps --help fast
    from hsm.root_making import next_version  # noqa: PLC0415
    from trust.kinds import ROOT, TOML  # noqa: PLC0415

    before = None if previous is None else read_given(previous, ROOT)
    try:
        data, made = next_version(read_given(source, TOML), source.parent, before)
    except SetupError as error:
        stop(f"{source}: {error}")
    write_new(out, data)
    click.echo(made.payload_sha256)
    click.echo(f"next: station-signer root approve {out} --key KEY, by officers", err=True)


@root.command(short_help="Show the newest version and who approved it.")
@click.argument("file", type=FILE)
def show(file: Path) -> None:
    """Show the newest version, who approved it, and whether it may be used."""
    from trust.root import RootError  # noqa: PLC0415 - keeps --help fast
    from trust.root_file import parse  # noqa: PLC0415

    data, (envelope, newest) = _newest(file)
    for line in _lines(envelope, newest):
        click.echo(printable(line))
    try:
        parse(data)
    except RootError as error:
        stop(f"not to be used yet: {error}")


@root.command(short_help="Approve the newest version with your key.", exits=ASKING)
@click.argument("file", type=FILE)
@key_options
def approve(file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve the newest version with your own key; the signature goes into the file."""
    from hsm.cli.standing import of_root  # noqa: PLC0415 - keeps --help fast
    from trust.approval import having  # noqa: PLC0415
    from trust.root_file import versions  # noqa: PLC0415

    data, (envelope, newest) = _newest(file)
    roots = [each for _, each in versions(data)[-2:]]
    judges = Judges(
        lists=tuple(having(each.approvers, "officer") for each in roots),
        wanted="officers, of the version before and of this one" if len(roots) > 1 else "officers",
        known={name: each for known in roots for name, each in known.approvers.items()},
    )
    made = approved_by_you(envelope, _lines(envelope, newest), mine, judges, yes=yes)
    if made is not envelope:
        before = data.strip().rsplit(b"\n", 1)[:-1]
        data = b"".join(line + b"\n" for line in [*before, made.to_json()])
        write_over(file, data)
    click.echo(printable(f"version {newest.version}: {of_root(data, made, roots, file)}"), err=True)


@root.command("import", short_help="Have a signer that does not serve take up a root.")
@click.option("--dir", "directory", type=DIRECTORY, required=True, help="The signer's directory.")
@click.option("--sha256", required=True, help="Its fingerprint, as the ceremony's minutes or an officer tell it.")
@click.argument("file", type=FILE)
def import_(directory: Path, sha256: str, file: Path) -> None:
    """Have a signer that does not serve take up a root; it never goes back to an older version then."""
    from hsm.config import SetupError  # noqa: PLC0415 - keeps --help fast
    from hsm.root_import import import_root  # noqa: PLC0415

    try:
        trusted = import_root(directory, file, sha256)
    except SetupError as error:
        stop(error)
    click.echo(f"version {trusted.root.version} of {trusted.root.environment} taken up: {trusted.sha256}", err=True)


def _newest(file: Path) -> tuple[bytes, tuple[Envelope, Root]]:
    from trust.kinds import ROOT  # noqa: PLC0415 - keeps --help fast
    from trust.root import RootError  # noqa: PLC0415
    from trust.root_file import versions  # noqa: PLC0415

    data = read_given(file, ROOT)
    try:
        return data, versions(data)[-1]
    except RootError as error:
        stop(f"{file}: {error}")


def _lines(envelope: Envelope, newest: Root) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast

    yield f"root version {newest.version}, SHA-256 {envelope.payload_sha256}"
    yield from fields(newest)
    yield from approved_by(envelope, newest.approvers)
