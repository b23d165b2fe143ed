"""`station-signer order`: make, show and approve work orders. Nothing here reaches a signer: stations import orders."""

from __future__ import annotations

from pathlib import Path

import click

from hsm.cli.asking import FILE, KeyChoice, key_options, read_given, stop, write_new
from hsm.cli.paper import Paper, approve_paper, require_worth, show_paper, trusted_by
from hsm.cli.typed import ASKING, Group

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

    trusted, text = trusted_by(root_file), read_given(source, TOML)
    try:
        made = from_toml(text, environment=trusted.root.environment, root_sha256=trusted.sha256)
    except OrderError as error:
        stop(f"{source}: {error}")
    require_worth(_paper(), made, trusted, source)
    write_new(out, made.to_json() + b"\n")
    click.echo(made.payload_sha256)
    click.echo(f"next: station-signer order approve {out} --root {root_file} --key KEY", err=True)


@order.command(short_help="Show an order and who approved it.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show an order, who approved it, and whether anything may be made under it."""
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help fast

    from trust.order import window_problem  # noqa: PLC0415
    from trust.order_approval import OrderRefusedError, admitted  # noqa: PLC0415

    trusted, envelope = show_paper(_paper(), file, root_file)
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
    approve_paper(_paper(), file, root_file, mine, yes=yes)


def _paper() -> Paper:
    from hsm.cli.standing import of_order  # noqa: PLC0415 - keeps --help fast
    from trust.approval import ORDER_ROLES  # noqa: PLC0415
    from trust.kinds import ORDER  # noqa: PLC0415
    from trust.order_approval import OrderRefusedError, body, worth_approving  # noqa: PLC0415

    return Paper(
        kind=ORDER, body=body, heading=lambda order: f"order {order.order_id}", worth=worth_approving,
        refused=OrderRefusedError, roles=ORDER_ROLES, wanted=" and ".join(ORDER_ROLES), standing=of_order,
    )  # fmt: skip
