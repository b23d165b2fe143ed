"""`station-signer approver`: the keys of people who approve. Never on a signer's machine."""

from __future__ import annotations

from pathlib import Path

import click

from hsm.cli.asking import FILE, secret_of, stop


@click.group(short_help="Keys of people who approve.")
def approver() -> None:
    """Keys of people who approve roots, orders and acts; each makes and keeps their own."""


@approver.command(short_help="Make a key file, encrypted; its public half goes to stdout.")
@click.option("--out", type=FILE, required=True, help="New file for the private key (mode 0600).")
@click.option("--secret", help="Where the passphrase comes from: file:PATH or fd:N.  [default: asked]")
def new(out: Path, secret: str | None) -> None:
    """Make a key file, encrypted with a passphrase; its public half goes to stdout, for the trust root."""
    from hsm.approver import new_key_file  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    try:
        public = new_key_file(out, secret_of(secret, "New passphrase"))
    except SetupError as error:
        stop(error)
    click.echo(public.to_pem(), nl=False)
    click.echo(f"key {public.fingerprint} in {out}; give its public half to whoever makes the trust root", err=True)
