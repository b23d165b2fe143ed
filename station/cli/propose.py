"""`station device propose`: a device's key for a cloud that speaks as Particle's does. No part of the flow.

Passwords, codes and tokens come from the keyboard or from stdin, never from an option, and are written nowhere.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from station.cli.asking import line, typed
from station.cli.options import CONFIG
from station.cli.output import data, is_asked, note
from station.exits import Exit

if TYPE_CHECKING:
    from station.cloud.particle import ParticleCloud, Proposal
    from station.proposing import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Who:
    """By whose leave: a user who signs in, a program with its secret, or a token that somebody has."""

    user: str | None
    client: str | None


@click.command(short_help="Propose a device's key to a Particle cloud.")
@click.argument("device_id")
@click.argument("key_file", type=click.Path(path_type=Path))
@CONFIG
@click.option("--url", default="https://api.particle.io", show_default=True, help="The cloud's address.")
@click.option("--tls-root", type=click.Path(path_type=Path), help="PEM of the one certificate to trust there.")
@click.option("--user", help="Sign in as this user: password, then code, are asked for, or read from stdin.")
@click.option("--client", help="Sign in as this program: its secret is asked for, or read from stdin.")
@click.option("--product", default="", help="Particle's number of the product.")
@click.option("--jsonl", is_flag=True, help="One JSON object.")
def propose(
    device_id: str, key_file: Path, config_file: Path, url: str, tls_root: Path | None, user: str | None,
    client: str | None, product: str, jsonl: bool,
) -> None:  # fmt: skip
    """Propose the public key in KEY_FILE (PEM) for a device to Particle's cloud, or to a registry with such a door.

    Without --user and --client an access token is asked for. It pins nothing by itself here: such a cloud gives
    no receipt and knows no completion, so no unit passes by this.

    Exit codes: 0 taken, and read back where the cloud shows keys · 1 refused · 2 usage · 3 outcome unknown.
    """
    if user is not None and client is not None:
        raise click.UsageError("give --user or --client, not both")
    proposal = _proposal(device_id, key_file, product)
    outcome = asyncio.run(_run(config_file, url, tls_root, _Who(user=user, client=client), proposal))
    if jsonl:
        data(msgspec.json.encode(outcome.said).decode())
    else:
        _show(outcome)


def _proposal(device_id: str, key_file: Path, product: str) -> Proposal:
    from station.cloud.particle import Proposal  # noqa: PLC0415 - keeps --help fast
    from trust.identity import DeviceId, IdentityError  # noqa: PLC0415
    from trust.keys import PublicKey, PublicKeyError  # noqa: PLC0415

    try:
        device = DeviceId.parse(device_id)
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="DEVICE_ID") from error
    if product and not (product.isascii() and product.isdigit()):
        raise click.BadParameter("a number", param_hint="--product")
    text = _text(key_file, "KEY_FILE")
    if "PRIVATE KEY" in text:
        told = "this is a private key: it is not sent; give the public one (openssl pkey -pubout)"
        raise click.BadParameter(told, param_hint="KEY_FILE")
    try:
        return Proposal(device=device, key=PublicKey.from_pem(text), product=product)
    except PublicKeyError as error:
        raise click.BadParameter(str(error), param_hint="KEY_FILE") from error


def _text(path: Path, hint: str) -> str:
    import given  # noqa: PLC0415

    try:
        return given.read(path).decode()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint=hint) from error
    except ValueError as error:
        raise click.BadParameter(f"{path}: it is no PEM", param_hint=hint) from error


async def _run(config_file: Path, url: str, tls_root: Path | None, who: _Who, proposal: Proposal) -> Outcome:
    from station import proposing  # noqa: PLC0415
    from station.cloud.particle import ParticleRefusedError, ParticleUnreachableError  # noqa: PLC0415
    from station.proposing import OutcomeUnknownError  # noqa: PLC0415

    root = None if tls_root is None else _text(tls_root, "--tls-root")
    try:
        async with proposing.opened(config_file, url, root) as cloud:
            return await _as(who, cloud, proposal)
    except ParticleRefusedError as error:
        _end(f"refused: {error}", Exit.UNIT_FAILED)
    except (ParticleUnreachableError, OutcomeUnknownError) as error:
        _end(f"{error}", Exit.QUARANTINED if isinstance(error, OutcomeUnknownError) else Exit.UNIT_FAILED)


async def _as(who: _Who, cloud: ParticleCloud, proposal: Proposal) -> Outcome:
    from station import proposing  # noqa: PLC0415
    from station.cloud.particle import Token  # noqa: PLC0415

    if who.user is not None:
        async with proposing.signed_in(cloud, who.user, _asked("password"), _code) as token:
            return await proposing.propose(cloud, proposal, token)
    if who.client is not None:
        return await proposing.propose(cloud, proposal, await cloud.client_token(who.client, _asked("secret")))
    return await proposing.propose(cloud, proposal, Token(_asked("access token")))


async def _code() -> str:
    return _asked("one-time code")


def _asked(what: str) -> str:
    """What somebody types unseen, or one line of a pipe."""
    text = typed(what) if is_asked() else line()
    if not text.strip():
        raise click.UsageError(f"no {what} was read: type it, or give it as a line on stdin")
    return text.strip()


def _show(outcome: Outcome) -> None:
    from station.proposing import NOT_SHOWN, WITHOUT  # noqa: PLC0415

    data(f"device     {outcome.device_id}")
    data(f"key        {outcome.fingerprint}")
    data(f"cloud      {outcome.url}")
    data(f"state      {outcome.state}")
    data(f"read back  {'the same key' if outcome.read_back == 'same' else NOT_SHOWN}")
    data(f"without    {WITHOUT}")


def _end(text: str, code: Exit) -> NoReturn:
    note(f"station: {text}")
    sys.exit(code)
