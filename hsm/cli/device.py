"""`station-signer device`: acts on one device, made, shown and approved by people. Nothing here reaches a signer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from hsm.cli.asking import FILE, KeyChoice, key_options, read_envelope, stop, write_new
from hsm.cli.paper import Paper, approve_paper, new_act, show_paper, trusted_by
from hsm.cli.typed import ASKING, Group
from trust.printable import printable

if TYPE_CHECKING:
    from trust.dsse import Envelope

_ROOT = click.option("--root", "root_file", type=FILE, required=True, help="The trust root's file.")
_WAS = {"repin": "active", "revoke": "active", "scrap": "active", "unscrap": "scrapped"}
_OPTIONS = MappingProxyType(
    {"device_id": "DEVICE_ID", "fingerprint": "--fingerprint", "new_fingerprint": "--repin", "ends_at": "--old-until",
     "reason": "--reason"}
)  # fmt: skip
_ONE = "--new-key, --anchor-of, --unlock, --repin, --revoke, --scrap or --unscrap"


@click.group(cls=Group, short_help="Acts on one device: made, shown and approved.")
def device() -> None:
    """Acts on one device: what product owner and quality together want done to its key, anchor, lock or pin."""


@device.command(short_help="Write an act on a device, not approved yet.")
@click.argument("device_id")
@_ROOT
@click.option("--fingerprint", required=True, help="SHA-256 of the key that it has now (station device show).")
@click.option("--new-key", "key_type", type=click.Choice(["ec-p256", "rsa-2048"]), help="Have it make a new key.")
@click.option("--anchor-of", "order_file", type=FILE, help="Have it take keys and address of this order.")
@click.option("--unlock", is_flag=True, help="Have its lock opened.")
@click.option("--repin", metavar="FINGERPRINT", help="Have this key pinned in the old one's place.")
@click.option("--revoke", is_flag=True, help="Have its pin revoked.")
@click.option("--scrap", is_flag=True, help="Have it scrapped, its id burned.")
@click.option("--unscrap", is_flag=True, help="Have the scrap taken back.")
@click.option("--old-until", "ends_at", metavar="TIME", help="With a new key: until when the old one is good, UTC.")
@click.option(
    "--was", type=click.Choice(["provisional", "active", "revoked", "scrapped"]),
    help="Its pin's state, as you know it.  [default: active; scrapped for --unscrap]",
)  # fmt: skip
@click.option("--reason", required=True, help="Why: at least 8 characters, read by auditors years later.")
@click.option("--days", type=click.IntRange(1, 30), default=7, show_default=True, help="How long it may be done.")
@click.option("--out", type=FILE, required=True, help="New file for the act.")
def new(device_id: str, root_file: Path, reason: str, days: int, out: Path, **what: Any) -> None:
    """Write an act on a device, not approved yet: exactly one of those that the options name.

    Changes of a locked device itself are --new-key, --anchor-of and --unlock; the others are of its pin alone.
    """
    about = {"device_id": device_id, "fingerprint": what.pop("fingerprint"), "reason": reason}
    made = _made(root_file, {**about, **_kind(what)}, timedelta(days=days))
    write_new(out, made.to_json() + b"\n")
    click.echo(made.payload_sha256)
    text = "by a product owner and by quality"
    click.echo(f"next: station-signer device approve {out} --root {root_file} --key KEY, {text}", err=True)


@device.command(short_help="Show an act on a device and who approved it.")
@click.argument("file", type=FILE)
@_ROOT
def show(file: Path, root_file: Path) -> None:
    """Show an act on a device, who approved it, and whether it may be done."""
    from hsm.cli.standing import device_next  # noqa: PLC0415 - keeps --help fast
    from trust.act import ActRefusedError  # noqa: PLC0415
    from trust.pin_act import allowed  # noqa: PLC0415

    trusted, envelope = show_paper(_paper(), file, root_file)
    try:
        found = allowed(envelope, trusted, datetime.now(UTC))
    except ActRefusedError as error:
        stop(f"not to be done yet: {error}")
    click.echo(f"holds             it may be done until {found.not_after}")
    click.echo(printable(f"next: {device_next(found, file)}"), err=True)


@device.command(short_help="Approve an act on a device with your key.", exits=ASKING)
@click.argument("file", type=FILE)
@_ROOT
@key_options
def approve(file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Approve an act on a device with your own key; the signature goes into the file."""
    approve_paper(_paper(), file, root_file, mine, yes=yes)


def _paper() -> Paper:
    from hsm.cli.standing import of_device  # noqa: PLC0415 - keeps --help fast
    from trust.act import ActRefusedError  # noqa: PLC0415
    from trust.approval import ORDER_ROLES  # noqa: PLC0415
    from trust.kinds import PIN_ACT  # noqa: PLC0415
    from trust.pin_act import body, worth_approving  # noqa: PLC0415

    return Paper(
        kind=PIN_ACT, body=body, heading=lambda act: f"act {act.kind} on device {act.device_id}", worth=worth_approving,
        refused=ActRefusedError, roles=ORDER_ROLES, wanted=" and ".join(ORDER_ROLES), standing=of_device,
        options=_OPTIONS,
    )  # fmt: skip


def _kind(what: dict[str, Any]) -> dict[str, Any]:
    """The fields of the one act that the options name."""
    named = [name for name in ("key_type", "order_file", "unlock", *_WAS) if what[name]]
    if len(named) != 1:
        raise click.UsageError(f"name one act: {_ONE}")
    (kind,) = named
    if what["ends_at"] and kind not in {"key_type", "repin"}:
        raise click.UsageError("--old-until belongs to --new-key and --repin")
    if what["was"] and kind not in _WAS:
        raise click.UsageError("--was belongs to --repin, --revoke, --scrap and --unscrap")
    ends = {"ends_at": what["ends_at"] or ""}
    match kind:
        case "key_type":
            return {"kind": "rekey", "change": "new-key", "key_type": what["key_type"], **ends}
        case "order_file":
            return {"kind": "rekey", "change": "new-anchor", "anchor_sha256": _anchor_of(what["order_file"])}
        case "unlock":
            return {"kind": "rekey", "change": "unlock"}
    key = {"new_fingerprint": what["repin"], **ends} if kind == "repin" else {}
    return {"kind": kind, "was": what["was"] or _WAS[kind], **key}


def _anchor_of(file: Path) -> str:
    from trust.kinds import ORDER  # noqa: PLC0415 - keeps --help fast
    from trust.order_approval import OrderRefusedError, body  # noqa: PLC0415
    from trust.rekey import anchor_sha256  # noqa: PLC0415

    try:
        order = body(read_envelope(file, ORDER))
    except OrderRefusedError as error:
        stop(f"{file}: {error}")
    return anchor_sha256(
        cloud_key=order.cloud_key, authority_key=order.authority_key, service=order.service, host=order.host,
        port=order.port,
    )  # fmt: skip


def _made(root_file: Path, about: dict[str, Any], lasts: timedelta) -> Envelope:
    from trust.pin_act import PinAct  # noqa: PLC0415 - keeps --help fast

    return new_act(_paper(), trusted_by(root_file), PinAct, {"type": "pin-act", **about}, lasts)
