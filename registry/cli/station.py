"""`station-registry station`: which stations the trust root names, and drafts of its next version.

A draft is a file for officers to approve (`station-signer root approve`): until they have, it changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.ending import NOT_KNOWN, one_line
from trust.printable import printable

if TYPE_CHECKING:
    from registry.stations import Station
    from trust.next_root import Draft

_PATH = click.Path(path_type=Path)
_SHOWN = 16  # digits of a fingerprint in a table
_root = click.option("--root", "file", required=True, type=_PATH, help="The trust root's file.")
_out = click.option("--out", required=True, type=_PATH, help="New file with one more version, not approved yet.")
_jsonl = click.option("--jsonl", is_flag=True, help="One JSON object a line.")


@click.group()
def station() -> None:
    """The stations of the trust root. Nothing else makes a station known to a registry.

    \b
    Exit codes: 0 done · 1 no such station (show) · 2 refused, usage or set-up · 130 interrupted
    """


@station.command("list", short_help="All stations: since which version, and until which.")
@_root
@_jsonl
def list_stations(file: Path, *, jsonl: bool) -> None:
    """All stations that any version of the root has named."""
    from registry.stations import stations  # noqa: PLC0415 - quick --help

    with one_line():
        found = stations(file)
    for each in found:
        text = f"{each.name:<24} {_standing(each):<28} client key {each.fingerprints['client'][:_SHOWN]}"
        click.echo(_json(each) if jsonl else text)


@station.command(short_help="One station: its keys, and when they changed.")
@_root
@_jsonl
@click.argument("name")
def show(file: Path, name: str, *, jsonl: bool) -> None:
    """Station NAME: its keys by purpose, and in which versions of the root they changed."""
    from registry.stations import stations  # noqa: PLC0415 - quick --help

    with one_line():
        found = next((each for each in stations(file) if each.name == name), None)
    if found is None:
        click.echo(f"no version of this trust root names station {printable(name)}", err=True)
        sys.exit(NOT_KNOWN)
    if jsonl:
        click.echo(_json(found))
        return
    click.echo(f"{'station':<12} {found.name}\n{'standing':<12} {_standing(found)}")
    for purpose, fingerprint in found.fingerprints.items():
        click.echo(f"{purpose:<12} SHA-256 {fingerprint}")


@station.command(short_help="Draft the next root, with a station more.")
@_root
@click.option("--public", required=True, type=_PATH, help="public.json of the station's signer.")
@click.option("--replace-keys", is_flag=True, help="The root names the station already: these keys take their place.")
@_out
@click.argument("name")
def enrol(file: Path, name: str, public: Path, out: Path, *, replace_keys: bool) -> None:
    """Draft the next version of the root, which names station NAME. Officers approve it."""
    from registry.stations import enrol as draft  # noqa: PLC0415 - quick --help

    with one_line():
        made = draft(file, name, public, out, instead=replace_keys)
    _drafted(made, out)


@station.command(short_help="Draft the next root, with a station less.")
@_root
@_out
@click.argument("name")
def revoke(file: Path, name: str, out: Path) -> None:
    """Draft the next version of the root, which leaves station NAME out. Officers approve it.

    The registry lets it in no more once it serves that root; what it has pinned stays.
    """
    from registry.stations import revoke as draft  # noqa: PLC0415 - quick --help

    with one_line():
        made = draft(file, name, out)
    _drafted(made, out)


def _drafted(made: Draft, out: Path) -> None:
    click.echo(made.envelope.payload_sha256)
    wanted = f"version {made.root.version} is a draft; next: station-signer root approve {out} --key KEY, by officers"
    click.echo(printable(f"{wanted}; then start registry and signers with it"), err=True)


def _standing(each: Station) -> str:
    if each.until is not None:
        return f"left out since version {each.until}"
    changed = f", new keys in {', '.join(map(str, each.changed))}" if each.changed else ""
    return f"in since version {each.since}{changed}"


def _json(each: Station) -> str:
    import json  # noqa: PLC0415 - quick --help

    told = {"station": each.name, "since": each.since, "until": each.until, "changed": each.changed}
    return json.dumps({**told, "keys": each.fingerprints})
