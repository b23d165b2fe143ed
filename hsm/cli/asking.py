"""What the commands for people who approve share: their key, the file that is approved, and what is shown before.

Never signs what was not shown. Heavy imports are inside: `--help` starts fast.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hsm.cli.typed import INTERRUPTED, SETUP_FAILED
from trust.printable import counted, printable

if TYPE_CHECKING:
    from hsm.approver import ApproverKey
    from hsm.token import Token
    from hsm.token.user_pin import UserPin
    from trust.approval import Approvers
    from trust.dsse import Envelope

FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Which key an approver signs with, as the options name it."""

    key_file: Path | None
    module: str | None
    token: str | None
    label: str | None
    secret: str | None

    def open(self) -> ApproverKey:
        """The key; ends the program with a sentence when the options name none."""
        from hsm.approver import TokenKey, read_key_file, require_key_file  # noqa: PLC0415 - keeps --help fast
        from hsm.config import SetupError  # noqa: PLC0415

        file, module, token, label = self.key_file, self.module, self.token, self.label
        if (file is None) == (module is None) or (module is None) != (token is None or label is None):
            raise click.UsageError("name your key: --key FILE, or --module, --token and --label")
        try:
            if file is not None:
                require_key_file(file)
                return read_key_file(file, secret_of(self.secret, f"Passphrase of {file}"))
            pin = secret_of(self.secret, f"User PIN of {token}")
            return TokenKey(_opened(Path(str(module)), str(token), pin), str(label))
        except SetupError as error:
            stop(error)


def key_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that name an approver's key, in a file or on a PKCS#11 token: the command gets `mine` and `yes`."""

    @functools.wraps(command)
    def chosen(**given: Any) -> None:
        choice = KeyChoice(*(given.pop(each.name) for each in fields(KeyChoice)))
        command(mine=choice, **given)

    for option in reversed(_KEY_OPTIONS):
        chosen = option(chosen)
    return chosen


_KEY_OPTIONS = (
    click.option("--key", "key_file", type=FILE, help="Your key file (station-signer approver new)."),
    click.option("--module", help="PKCS#11 module of your token, instead of --key."),
    click.option("--token", help="Label of your token."),
    click.option("--label", help="Label of your key on it."),
    click.option("--secret", help="Where passphrase or user PIN comes from: file:PATH or fd:N.  [default: asked]"),
    click.option("--yes", is_flag=True, help="Do not ask again; for scripts whose author has read the document."),
)


def _opened(module: Path, label: str, pin: UserPin) -> Token:
    from hsm.token.pkcs11.place import TokenPlace  # noqa: PLC0415
    from hsm.token.pkcs11.session import Pkcs11Token  # noqa: PLC0415

    # One login at a time of this user's own programs: nobody else can hold the lock of a home.
    return Pkcs11Token(TokenPlace(module=module, label=label, lock=Path.home()), pin)


def secret_of(source: str | None, prompt: str, *, new: bool = False) -> UserPin:
    """A passphrase or user PIN, from where was said, or asked for without echo; a new one is asked for twice."""
    from hsm.config import SetupError  # noqa: PLC0415
    from hsm.token.user_pin import UserPin, UserPinError, read_user_pin  # noqa: PLC0415

    if source is None:
        _require_terminal(prompt, "--secret file:PATH or fd:N")
        again = "The same again" if new else False
        with _or_nothing():
            return UserPin(click.prompt(prompt, hide_input=True, confirmation_prompt=again, err=True))
    try:
        return read_user_pin(source, Path.cwd(), environment="")
    except UserPinError as error:
        raise SetupError(str(error).replace("user_pin", "--secret")) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Who may approve a document: the lists that count, in words, and everybody whom the trust root names."""

    lists: tuple[Approvers, ...]
    wanted: str
    known: Approvers


def approved_by_you(
    envelope: Envelope, lines: Iterator[str], mine: KeyChoice, judges: Judges, *, yes: bool
) -> Envelope:
    """The document with your signature, after it was shown and you agreed; ends the program when you may not.

    Nothing is written then. Approvals that go, because they are of nobody who may approve it, are told on stderr; one
    that you had given before, too, and the document is as it was.
    """
    from hsm.approver import approve  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    for line in lines:
        click.echo(printable(line), err=True)
    if not yes:
        _require_terminal("Approve exactly this", "--yes, after you have read it")
        with _or_nothing():
            click.confirm("Approve exactly this?", abort=True, err=True)
    try:
        made = approve(envelope, mine.open(), *judges.lists, known=judges.known, wanted=judges.wanted)
    except SetupError as error:
        stop(error)
    if made is envelope:
        click.echo("you had approved already, nothing changed", err=True)
    gone = len({each.keyid for each in envelope.signatures} - {each.keyid for each in made.signatures})
    if gone:
        text = f"taken out: {counted(gone, 'approval')} by keys of nobody whom the trust root has approve this"
        click.echo(text, err=True)
    return made


def _require_terminal(question: str, instead: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        stop(f"{question}: nobody can be asked, as this is no terminal: give {instead}")


@contextmanager
def _or_nothing() -> Iterator[None]:
    """Ctrl-C, Ctrl-D or no at a question: nothing was done yet, and that is said."""
    try:
        yield
    except click.Abort:
        click.echo(err=True)
        stop("nothing was done", INTERRUPTED)


def read_envelope(path: Path, wanted: str) -> Envelope:
    """The document in a file; ends the program when it is none, or plainly of another kind (`trust.kinds`)."""
    from trust.dsse import Envelope, EnvelopeError  # noqa: PLC0415

    data = read_given(path, wanted)
    try:
        return Envelope.from_json(data.strip())
    except EnvelopeError as error:
        stop(f"{path}: {error}: name a file that station-signer has made")


def read_given(path: Path, wanted: str) -> bytes:
    """The file's bytes; ends the program when it cannot be read, or is plainly of another kind (`trust.kinds`)."""
    import given  # noqa: PLC0415
    from trust.kinds import wrong_kind  # noqa: PLC0415
    from trust.printable import plainly  # noqa: PLC0415

    try:
        data = given.read(path)
    except OSError as error:
        stop(f"{path}: {plainly(error)}: give the file of {wanted}")
    wrong = wrong_kind(data, wanted)
    if wrong is not None:
        stop(f"{path} {wrong}")
    return data


def require_new(path: Path) -> None:
    """Before anything is done: ends the program when there is a file of this name, or no place for one."""
    if os.path.lexists(path):
        stop(f"{path}: File exists: nothing is overwritten, choose another file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        stop(f"{path.parent}: no directory in which you may make {path.name}: choose another file")


def write_new(path: Path, data: bytes) -> None:
    """A new file, whole and durable; ends the program when there is one of this name."""
    from hsm.files import FileThereError, write_file  # noqa: PLC0415

    try:
        write_file(path, data)
    except FileThereError as error:
        stop(error)


def write_over(path: Path, data: bytes) -> None:
    """The file with its new content, whole or not at all."""
    from hsm.files import replace_file  # noqa: PLC0415

    try:
        replace_file(path, data)
    except OSError as error:
        stop(f"{path}: {error.strerror}: nothing was written")


def stop(error: Exception | str, code: int = SETUP_FAILED) -> NoReturn:
    """End the program with one sentence."""
    click.echo(printable(f"station-signer: {error}"), err=True)
    sys.exit(code)
