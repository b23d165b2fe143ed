"""`station-registry user`: who may sign in, at the registry's own machine. The first administrator is made here.

An id is a random number: whose it is, is written down by who runs the command, outside of this machine. Secrets go to
stdout, once, and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.access.caller import Role, Scope
from registry.cli.ending import NOT_KNOWN, SETUP, end, one_line

if TYPE_CHECKING:
    from registry.people.accounts import Made
    from registry.people.service import People
    from registry.people.store import State

_directory = click.option(
    "--dir", "directory", required=True, type=click.Path(path_type=Path), help="The registry's directory."
)
_role = click.Choice([each.value for each in Role])
_jsonl = click.option("--jsonl", is_flag=True, help="One JSON object a line.")


@click.group()
def user() -> None:
    """Who may sign in here, and by the roster at stations: random ids with a role.

    \b
    Exit codes: 0 done · 1 no such user · 2 refused, usage or set-up · 130 interrupted
    """


@user.command(short_help="A new user: id, first password, secret for one-time codes.")
@_directory
@click.option("--role", required=True, type=_role, help="What the person is here for.")
@_jsonl
def add(directory: Path, role: str, *, jsonl: bool) -> None:
    """A new user. Shows, once, what its person signs in by."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415 - quick --help

    with _people(directory) as people:
        _show_made(people.accounts.add(Role(role), CONSOLE), jsonl=jsonl)


@user.command("list", short_help="All users: id, role, enabled or not, since when.")
@_directory
@_jsonl
def list_users(directory: Path, *, jsonl: bool) -> None:
    """All users, in the order of their ids."""
    with _people(directory) as people:
        for each in people.accounts.all():
            click.echo(_json(each) if jsonl else f"{each.user_id}  {each.role:<13}  {_enabled(each):<8}  {each.at}")


@user.command(short_help="What became of a user, and its API tokens.")
@_directory
@_jsonl
@click.argument("user_id", metavar="ID")
def show(directory: Path, user_id: str, *, jsonl: bool) -> None:
    """What became of user ID, oldest first, and its API tokens."""
    with _people(directory) as people:
        for each in people.accounts.history(user_id):
            words = f"{each.at}  {each.what:<8}  {each.role:<13}  {_enabled(each):<8}  by {each.by_whom}"
            key = f", approves with {each.approver}" if each.approver else ""
            click.echo(_json(each) if jsonl else f"{words}{key}")
        for token in people.tokens.of_user(user_id):
            words = f"{token.made_at}  token     {token.name}: {' '.join(token.scopes)}, until {token.expires_at}"
            click.echo(_json(token) if jsonl else f"{words}, {token.token_sha256}")


@user.command(short_help="Another role; ends sessions and tokens.")
@_directory
@click.argument("user_id", metavar="ID")
@click.argument("new_role", metavar="ROLE", type=_role)
def role(directory: Path, user_id: str, new_role: str) -> None:
    """Give user ID another ROLE. Ends its sessions and API tokens."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    with _people(directory) as people:
        _say(people.accounts.set_role(user_id, Role(new_role), CONSOLE))


@user.command(short_help="Signs in no more; ends sessions and tokens.")
@_directory
@click.argument("user_id", metavar="ID")
def disable(directory: Path, user_id: str) -> None:
    """User ID signs in no more, and is in no new roster. Ends its sessions and API tokens."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    with _people(directory) as people:
        _say(people.accounts.disable(user_id, CONSOLE))


@user.command(short_help="Signs in again; also lifts a lock after too many tries.")
@_directory
@click.argument("user_id", metavar="ID")
def enable(directory: Path, user_id: str) -> None:
    """User ID signs in again. Also lifts the lock after too many tries."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    with _people(directory) as people:
        _say(people.accounts.enable(user_id, CONSOLE))


@user.command(short_help="A new password and secret, for who has lost them.")
@_directory
@_jsonl
@click.argument("user_id", metavar="ID")
def reset(directory: Path, user_id: str, *, jsonl: bool) -> None:
    """A new password and a new secret for one-time codes for user ID. Ends its sessions and API tokens."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    with _people(directory) as people:
        _show_made(people.accounts.reset(user_id, CONSOLE), jsonl=jsonl)


@user.command(short_help="The badge that signs in at stations, read from stdin.")
@_directory
@click.option("--remove", is_flag=True, help="No badge any more.")
@click.argument("user_id", metavar="ID")
def badge(directory: Path, user_id: str, *, remove: bool) -> None:
    """The badge of user ID: scan it, or type what a reader says. Only its hash is kept."""
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    with _people(directory) as people:
        people.accounts.history(user_id)
        text = None if remove else _scanned()
        _say(people.accounts.set_badge(user_id, text, CONSOLE))


@user.command(short_help="The key that a user approves acts with.")
@_directory
@click.option("--remove", is_flag=True, help="None any more.")
@click.argument("user_id", metavar="ID")
@click.argument("key", metavar="FINGERPRINT", required=False)
def approver(directory: Path, user_id: str, key: str | None, *, remove: bool) -> None:
    """User ID approves acts with the key of this FINGERPRINT. Ends its sessions and API tokens.

    Its one-time code then goes with the scrap of a unit that was never finished, which takes one approver.
    """
    from registry.people.accounts import CONSOLE  # noqa: PLC0415

    if (key is None) != remove:
        raise click.UsageError("give the key's FINGERPRINT (station-signer approver show says it), or --remove")
    with _people(directory) as people:
        _say(people.accounts.set_approver(user_id, key or "", CONSOLE))


@user.command(short_help="An API token for a user, or withdraw one.")
@_directory
@click.option("--name", help="What it is for, to tell it from others.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice([each.value for each in Scope]), help="Repeat it.")
@click.option("--days", type=click.IntRange(1, 90), default=30, show_default=True, help="How long it holds.")
@click.option("--withdraw", metavar="SHA256", help="Withdraw the token with this hash, as `show` has it.")
@click.argument("user_id", metavar="ID")
def token(
    directory: Path, user_id: str, name: str | None, scopes: tuple[str, ...], days: int, withdraw: str | None
) -> None:
    """An API token for user ID, shown once; or withdraw one."""
    if withdraw is None and (not name or not scopes):
        raise click.UsageError("give --name and --scope, or --withdraw")
    with _people(directory) as people:
        if withdraw is not None:
            people.tokens.withdraw(user_id, withdraw)
            click.echo("withdrawn", err=True)
            return
        granted = frozenset(Scope(each) for each in scopes)
        made = people.tokens.issue(user_id, name or "", granted, timedelta(days=days))
        click.echo(made.token)
        click.echo(f"until {made.expires_at}; it is shown this once", err=True)


@contextmanager
def _people(directory: Path) -> Iterator[People]:
    """The people of the registry in this directory. What stands in the way is one line, and 2; 1 for no such user."""
    from registry.errors import RefusedError  # noqa: PLC0415
    from registry.opening import open_database  # noqa: PLC0415
    from registry.people.service import People, issuer_of  # noqa: PLC0415
    from registry.settings import Home  # noqa: PLC0415
    from trust.codes import Code  # noqa: PLC0415

    with one_line():
        home = Home.load(directory)
        with closing(open_database(home)) as database:
            try:
                yield People.over(database, issuer_of(home.config.environment, home.config.name))
            except RefusedError as error:
                end(str(error), NOT_KNOWN if error.code is Code.USER_UNKNOWN else SETUP)


def _scanned() -> str:
    """What a reader types, or a pipe brings; not to be seen on the screen."""
    text = click.prompt("badge", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise click.UsageError("no badge was read: scan it, or give its text on stdin")
    return str(text).strip()


def _show_made(made: Made, *, jsonl: bool) -> None:
    if jsonl:
        click.echo(_json(made))
    else:
        click.echo(f"user      {made.user_id}\npassword  {made.password}\ncodes     {made.enrolment}")
        if sys.stdout.isatty():
            _draw(made.enrolment)
    click.echo(
        "shown this once: hand it over, and write down outside of this machine whose id it is; "
        "its person changes the password",
        err=True,
    )


def _draw(text: str) -> None:
    """As a QR code, for an authenticator's camera."""
    import segno  # noqa: PLC0415

    segno.make(text, error="m", micro=False).terminal(compact=True)


def _say(state: State) -> None:
    click.echo(f"{state.user_id}: {state.role}, {_enabled(state)}", err=True)


def _enabled(state: State) -> str:
    return "enabled" if state.enabled else "disabled"


def _json(value: object) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(value).decode()
