"""`station-signer approver`: the keys of people who approve. Never on a signer's machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm.cli.asking import FILE, require_new, secret_of, stop, write_new
from hsm.cli.typed import ASKING, Group

if TYPE_CHECKING:
    from trust.keys import PublicKey

_PUBLIC = click.option("--public", "public_file", type=FILE, help="New file for the public half, beside stdout.")


@click.group(cls=Group, short_help="Keys of people who approve.")
def approver() -> None:
    """Keys of people who approve roots, orders and acts; each makes and keeps their own."""


@approver.command(short_help="Make a key file, encrypted; its public half goes to stdout.", exits=ASKING)
@click.option("--out", type=FILE, required=True, help="New file for the private key (mode 0600).")
@_PUBLIC
@click.option("--secret", help="Where the passphrase comes from: file:PATH or fd:N.  [default: asked, twice]")
def new(out: Path, public_file: Path | None, secret: str | None) -> None:
    """Make a key file, encrypted with a passphrase; its public half goes to stdout, for the trust root."""
    from hsm.approver import MIN_PASSPHRASE, new_key_file  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    _require_places(out, public_file)
    try:
        prompt = f"New passphrase ({MIN_PASSPHRASE} characters at least)"
        public = new_key_file(out, secret_of(secret, prompt, new=True))
    except SetupError as error:
        stop(error)
    _tell(public, public_file)
    click.echo(f"key {public.fingerprint} in {out}; give its public half to whoever makes the trust root", err=True)


@approver.command(short_help="Print the public half of a key file again.", exits=ASKING)
@click.argument("file", type=FILE)
@_PUBLIC
@click.option("--secret", help="Where the passphrase comes from: file:PATH or fd:N.  [default: asked]")
def show(file: Path, public_file: Path | None, secret: str | None) -> None:
    """Print the public half of a key file again; it is in the encrypted part, so that the passphrase is needed."""
    from hsm.approver import read_key_file, require_key_file  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    if public_file is not None:
        require_new(public_file)
    try:
        require_key_file(file)
        public = read_key_file(file, secret_of(secret, f"Passphrase of {file}")).public
    except SetupError as error:
        stop(error)
    _tell(public, public_file)
    click.echo(f"key {public.fingerprint} in {file}", err=True)


def _require_places(out: Path, public_file: Path | None) -> None:
    """Before anybody is asked for anything."""
    require_new(out)
    if public_file is not None:
        require_new(public_file)
        if public_file.absolute() == out.absolute():
            stop(f"{out}: --out and --public are one file: choose another for the public half")


def _tell(public: PublicKey, public_file: Path | None) -> None:
    if public_file is not None:
        write_new(public_file, public.to_pem().encode())
    click.echo(public.to_pem(), nl=False)
