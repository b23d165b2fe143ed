"""`station account`: what a person does about the own account at the registry. Writes down nothing of what is typed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.asking import sign_in, typed
from station.cli.options import CONFIG
from station.cli.output import note
from station.usage import UsageError

if TYPE_CHECKING:
    from station.signed_in import SignIn

_SHORTEST, _LONGEST = 15, 128  # the registry's own rule, looked at before a one-time code is used up


@click.group()
def account() -> None:
    """Your own account at the registry, by which you sign in."""


@account.command(short_help="Change your password.")
@CONFIG
def password(config_file: Path) -> None:
    """Change your password at the registry: asks for id, old password, one-time code, and twice for the new password.

    All your sessions and API tokens end with it. Who has lost password or codes asks an administrator for new ones.
    """
    who = sign_in("nothing was done")
    asyncio.run(_change(config_file, who, _new()))
    note("the password is changed; sessions and API tokens of this user have ended")


def _new() -> str:
    new = typed("New password")
    if not _SHORTEST <= len(new) <= _LONGEST:
        raise UsageError(f"a password has {_SHORTEST} to {_LONGEST} characters: nothing was changed")
    if typed("The same again") != new:
        raise UsageError("the two differ: nothing was changed")
    return new


async def _change(config_file: Path, who: SignIn, new: str) -> None:
    from station.signed_in import signed_in  # noqa: PLC0415 - keeps --help fast

    async with signed_in(config_file, who) as registry:
        await registry.asked("PUT", "/v1/me/password", msgspec.json.encode({"password": new}))
