"""`station-signer public`: the keys of a signer's public.json, for whoever writes an order. Says nothing of trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from hsm.cli.asking import FILE, stop
from hsm.cli.typed import Command

_REMEDY = "name the public.json that station-signer init has made"


@click.command(cls=Command, short_help="Show the public keys in a signer's public.json, or print one as PEM.")
@click.argument("file", type=FILE)
@click.option("--purpose", help="Print this key as PEM, for an order's cloud_key or authority_key.")
def public(file: Path, purpose: str | None) -> None:
    """Show the public keys in a signer's public.json by purpose and fingerprint, or print one as PEM."""
    from hsm.config import SetupError  # noqa: PLC0415 - keeps --help fast
    from hsm.public_file import read_public_file  # noqa: PLC0415
    from trust.keys import PublicKey, PublicKeyError  # noqa: PLC0415

    try:
        keys = read_public_file(file, _REMEDY)
        if purpose is None:
            for name, spki in keys.items():
                click.echo(f"{name:<11} {hashlib.sha256(spki).hexdigest()}")
            return
        if purpose not in keys:
            stop(f"{file} has no key {purpose!r}; it has {', '.join(keys)}")
        click.echo(PublicKey.from_der(keys[purpose]).to_pem(), nl=False)
    except (SetupError, PublicKeyError) as error:
        stop(error)
