"""`station-signer act`: break-glass acts, made, shown and approved. A station has them done, and keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsm.cli.asking import FILE, KeyChoice, key_options, read_envelope, stop, write_new
from hsm.cli.paper import Paper, approve_paper, new_act, show_paper, trusted_by
from hsm.cli.typed import ASKING, Group
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope
    from trust.root import Root

_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")


@click.group(cls=Group, short_help="Break-glass acts: made, shown and approved.")
def act() -> None:
    """Break-glass acts: what two officers together may have a signer do, once."""


@act.command(short_help="Write an act, not approved yet.")
@_ROOT
@click.option("--signer", required=True, help="Whose signer is to do it: a station's name, or the registry's.")
@click.option("--raise-allowance", "order_file", type=FILE, help="Allow more pin statements under this order.")
@click.option(
    "--accept-surplus", "surplus_file", type=FILE, help="Accept pin statements of this order that no ledger has."
)
@click.option("--units", type=click.IntRange(1, 1_000_000), help="How many more.")
@click.option("--lift-stop", "stop_number", type=click.IntRange(1), help="Lift the stop of this number.")
@click.option("--replace-key", "replaced", metavar="PURPOSE", help="Destroy this key and make another in its place.")
@click.option("--destroy-key", "destroyed", metavar="PURPOSE", help="Destroy this key for good.")
@click.option("--fingerprint", help="SHA-256 of the key that goes (station-signer status shows it).")
@click.option("--reason", required=True, help="Why: at least 8 characters, read by auditors years later.")
@click.option("--days", type=click.IntRange(1, 7), default=1, show_default=True, help="How long it may be used.")
@click.option("--out", type=FILE, required=True, help="New file for the act.")
def new(root_file: Path, signer: str, reason: str, days: int, out: Path, **what: Any) -> None:
    """Write an act, not approved yet: exactly one of the five that the options name."""
    made = _made(root_file, {"signer": signer, "reason": reason, **_kind(what)}, timedelta(days=days))
    write_new(out, made.to_json() + b"\n")
    click.echo(made.payload_sha256)
    click.echo(f"next: station-signer act approve {out} --root {root_file} --key KEY, by officers", err=True)


@act.command(short_help="Show an act and who approved it.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show an act, who approved it, and whether it may be done."""
    from hsm.cli.standing import act_next  # noqa: PLC0415 - keeps --help fast
    from trust.act import ActRefusedError, allowed, body  # noqa: PLC0415

    trusted, envelope = show_paper(_paper(), file, root_file)
    try:
        found = allowed(envelope, trusted, signer=body(envelope).signer, now=datetime.now(UTC))
    except ActRefusedError as error:
        stop(f"not to be done yet: {error}")
    click.echo(f"holds             it may be done once, until {found.not_after}")
    click.echo(printable(f"next: {act_next(found, file, root_file)}"), err=True)


@act.command(short_help="Approve an act with your key.", exits=ASKING)
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve an act with your own key; the signature goes into the file."""
    approve_paper(_paper(), file, root_file, mine, yes=yes)


def _paper() -> Paper:
    from hsm.cli.standing import of_act  # noqa: PLC0415 - keeps --help fast
    from trust.act import ActRefusedError, body, worth_approving  # noqa: PLC0415
    from trust.kinds import ACT  # noqa: PLC0415

    return Paper(
        kind=ACT, body=body, heading=lambda act: f"act {act.kind} by signer {act.signer}", worth=worth_approving,
        refused=ActRefusedError, roles=("officer",), wanted="officers", standing=of_act,
    )  # fmt: skip


_KINDS = {
    "order_file": "raise-allowance", "surplus_file": "accept-surplus", "stop_number": "lift-stop",
    "replaced": "replace-key", "destroyed": "destroy-key",
}  # fmt: skip


def _kind(what: dict[str, Any]) -> dict[str, Any]:
    """What the one option that was given asks for, with what belongs to it; UsageError for anything else."""
    named = [name for name in _KINDS if what[name] is not None]
    about_order, about_key = (
        bool({*named} & set(pair)) for pair in (("order_file", "surplus_file"), ("replaced", "destroyed"))
    )
    fits = about_order == (what["units"] is not None) and about_key == (what["fingerprint"] is not None)
    if len(named) != 1 or not fits:
        raise click.UsageError(
            "name one act: --raise-allowance or --accept-surplus ORDER --units N, --lift-stop N, or --replace-key or "
            "--destroy-key PURPOSE with --fingerprint"
        )
    kind, given = _KINDS[named[0]], what[named[0]]
    if about_order:
        return {"kind": kind, "units": what["units"], **_order(given)}
    if about_key:
        return {"kind": kind, "purpose": given, "fingerprint": what["fingerprint"]}
    return {"kind": kind, "stop": given}


def _order(file: Path) -> dict[str, str]:
    from trust.kinds import ORDER  # noqa: PLC0415 - keeps --help fast
    from trust.order_approval import OrderRefusedError, body  # noqa: PLC0415

    envelope = read_envelope(file, ORDER)
    try:
        return {"order_id": body(envelope).order_id, "order_sha256": envelope.payload_sha256}
    except OrderRefusedError as error:
        stop(f"{file}: {error}")


def _made(root_file: Path, about: dict[str, Any], lasts: timedelta) -> Envelope:
    from trust.act import Act  # noqa: PLC0415 - keeps --help fast

    trusted = trusted_by(root_file)
    _require_doer(trusted.root, about)
    return new_act(_paper(), trusted, Act, {"type": "act", **about}, lasts)


def _require_doer(root: Root, about: dict[str, Any]) -> None:
    """A signer of this root, and one that can do it; ends the program otherwise."""
    from hsm.purposes import KEYS  # noqa: PLC0415 - keeps --help fast

    signer, purpose = about["signer"], about.get("purpose")
    if signer not in {*root.stations, root.registry}:
        known = ", ".join([*sorted(root.stations), root.registry])
        stop(f"--signer {signer!r} is no station of this root, nor its registry: it is one of {known}")
    keys = KEYS["factory" if signer in root.stations else "cloud"]
    if purpose is None and signer == root.registry:
        stop(f"the registry's signer {signer} does acts on its keys only: name the station whose signer is to do it")
    if purpose is not None and purpose not in set(keys):
        stop(f"signer {signer} has no key for {purpose!r}: it is one of {', '.join(keys)}")
