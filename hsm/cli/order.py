"""`station-signer order`: make, show and approve work orders. Nothing here reaches a signer: stations import orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm.cli.asking import (
    FILE,
    KeyChoice,
    approved_by_you,
    key_options,
    read_envelope,
    stop,
    write_new,
    write_over,
)
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.root import TrustedRoot

_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")


@click.group(short_help="Work orders: made, shown and approved.")
def order() -> None:
    """Work orders: what may be made, approved by two people."""


@order.command(short_help="Write an order from TOML, not approved yet.")
@click.option("--from", "source", type=FILE, required=True, help="The order as TOML (docs/statements.md).")
@_ROOT
@click.option("--out", type=FILE, required=True, help="New file for the order.")
def new(source: Path, root_file: Path, out: Path) -> None:
    """Write an order from TOML; product owner and quality approve it then."""
    import given  # noqa: PLC0415 - keeps --help fast
    from trust.order import OrderError  # noqa: PLC0415
    from trust.order_file import from_toml  # noqa: PLC0415

    trusted = _trusted(root_file)
    try:
        made = from_toml(given.read(source), environment=trusted.root.environment, root_sha256=trusted.sha256)
    except OSError as error:
        stop(f"{source}: {error.strerror}")
    except OrderError as error:
        stop(error)
    write_new(out, made.to_json() + b"\n")
    click.echo(made.payload_sha256)
    click.echo(f"next: station-signer order approve {out} --root {root_file} --key KEY", err=True)


@order.command(short_help="Show an order and who approved it.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show an order, who approved it, and whether anything may be made under it."""
    from trust.order_approval import OrderRefusedError, admitted  # noqa: PLC0415 - keeps --help fast

    trusted, envelope = _trusted(root_file), read_envelope(file)
    for line in _lines(envelope, trusted):
        click.echo(printable(line))
    try:
        admitted(envelope, trusted)
    except OrderRefusedError as error:
        stop(f"nothing may be made under it yet: {error}")


@order.command(short_help="Approve an order with your key.")
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve an order with your own key; the signature goes into the file.

    Approvals of people whom the root does not name any more are taken out: they would make the order void.
    """
    from trust.approval import ORDER_ROLES, having  # noqa: PLC0415 - keeps --help fast

    trusted, envelope = _trusted(root_file), read_envelope(file)
    made = approved_by_you(
        envelope, _lines(envelope, trusted), mine, having(trusted.root.approvers, *ORDER_ROLES), yes=yes
    )
    write_over(file, made.to_json() + b"\n")
    click.echo(f"the order now has {len(made.signatures)} approvals", err=True)


def _trusted(root_file: Path) -> TrustedRoot:
    from hsm.cli.roots import trusted_root  # noqa: PLC0415 - keeps --help fast

    return trusted_root(root_file)


def _lines(envelope: Envelope, trusted: TrustedRoot) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast
    from trust.order_approval import OrderRefusedError, body  # noqa: PLC0415

    try:
        found = body(envelope)
    except OrderRefusedError as error:
        stop(error)
    yield f"order {found.order_id}, SHA-256 {envelope.payload_sha256}"
    yield from fields(found)
    yield from approved_by(envelope, trusted.root.approvers)
