"""`station-signer order`: make, show and approve work orders. Nothing here reaches a signer: stations import orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm.cli.asking import (
    FILE,
    Judges,
    KeyChoice,
    approved_by_you,
    key_options,
    read_envelope,
    read_given,
    stop,
    write_new,
    write_over,
)
from hsm.cli.typed import ASKING, Group
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.root import TrustedRoot

_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")


@click.group(cls=Group, short_help="Work orders: made, shown and approved.")
def order() -> None:
    """Work orders: what may be made, approved by two people."""


@order.command(short_help="Write an order from TOML, not approved yet.")
@click.option("--from", "source", type=FILE, required=True, help="The order as TOML (docs/statements.md).")
@_ROOT
@click.option("--out", type=FILE, required=True, help="New file for the order.")
def new(source: Path, root_file: Path, out: Path) -> None:
    """Write an order from TOML; product owner and quality approve it then."""
    from trust.kinds import TOML  # noqa: PLC0415 - keeps --help fast
    from trust.order import OrderError  # noqa: PLC0415
    from trust.order_file import from_toml  # noqa: PLC0415

    trusted, text = _trusted(root_file), read_given(source, TOML)
    try:
        made = from_toml(text, environment=trusted.root.environment, root_sha256=trusted.sha256)
    except OrderError as error:
        stop(f"{source}: {error}")
    _require_worth(made, trusted, source)
    write_new(out, made.to_json() + b"\n")
    click.echo(made.payload_sha256)
    click.echo(f"next: station-signer order approve {out} --root {root_file} --key KEY", err=True)


@order.command(short_help="Show an order and who approved it.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show an order, who approved it, and whether anything may be made under it."""
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help fast

    from trust.kinds import ORDER  # noqa: PLC0415
    from trust.order import window_problem  # noqa: PLC0415
    from trust.order_approval import OrderRefusedError, admitted  # noqa: PLC0415

    trusted, envelope = _trusted(root_file), read_envelope(file, ORDER)
    for line in _lines(envelope, trusted, file):
        click.echo(printable(line))
    try:
        found = admitted(envelope, trusted)
    except OrderRefusedError as error:
        stop(f"nothing may be made under it yet: {error}")
    over = window_problem(found, datetime.now(UTC))
    if over is not None:
        stop(f"nothing may be begun under it: {over}")
    if not envelope.signatures:
        click.echo("holds             without approvals, as this is environment demo: a site takes none like it")
    click.echo(f"holds             {found.quantity} + {found.allowance} may be made until {found.not_after}")


@order.command(short_help="Approve an order with your key.", exits=ASKING)
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve an order with your own key; the signature goes into the file.

    Approvals of people whom the root does not name any more are taken out: they would make the order void.
    """
    from hsm.cli.standing import of_order  # noqa: PLC0415 - keeps --help fast
    from trust.approval import ORDER_ROLES, having  # noqa: PLC0415
    from trust.kinds import ORDER  # noqa: PLC0415

    trusted, envelope = _trusted(root_file), read_envelope(file, ORDER)
    _require_worth(envelope, trusted, file)
    everybody = trusted.root.approvers
    judges = Judges(lists=(having(everybody, *ORDER_ROLES),), wanted=" and ".join(ORDER_ROLES), known=everybody)
    made = approved_by_you(envelope, _lines(envelope, trusted, file), mine, judges, yes=yes)
    if made is not envelope:
        write_over(file, made.to_json() + b"\n")
    click.echo(printable(of_order(made, trusted, file, root_file)), err=True)


def _require_worth(envelope: Envelope, trusted: TrustedRoot, file: Path) -> None:
    """Nobody is asked to approve what nothing can be made under."""
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help fast

    from trust.order_approval import OrderRefusedError, worth_approving  # noqa: PLC0415

    try:
        worth_approving(envelope, trusted, datetime.now(UTC))
    except OrderRefusedError as error:
        stop(f"{file}: {error}; nothing was done")


def _trusted(root_file: Path) -> TrustedRoot:
    from hsm.cli.roots import trusted_root  # noqa: PLC0415 - keeps --help fast

    return trusted_root(root_file)


def _lines(envelope: Envelope, trusted: TrustedRoot, file: Path) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast
    from trust.order_approval import OrderRefusedError, body  # noqa: PLC0415

    try:
        found = body(envelope)
    except OrderRefusedError as error:
        stop(f"{file}: {error}")
    yield f"order {found.order_id}, SHA-256 {envelope.payload_sha256}"
    yield from fields(found)
    yield from approved_by(envelope, trusted.root.approvers)
