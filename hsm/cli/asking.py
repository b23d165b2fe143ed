"""What the commands for people who approve share: their key, the file that is approved, and what is shown before.

Never signs what was not shown. Heavy imports are inside: `--help` starts fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from trust.printable import printable

if TYPE_CHECKING:
    from hsm.approver import ApproverKey
    from hsm.token import Token
    from hsm.token.user_pin import UserPin
    from trust.approval import Approvers
    from trust.dsse import Envelope

F = TypeVar("F", bound=Callable[..., object])
SETUP_FAILED = 2
LINE_STOPPED = 6
FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


def key_options(command: F) -> F:
    """Options that name an approver's key, in a file or on a PKCS#11 token, and where its secret comes from."""
    options = (
        click.option("--key", "key_file", type=FILE, help="Your key file (station-signer approver new)."),
        click.option("--module", help="PKCS#11 module of your token, instead of --key."),
        click.option("--token", help="Label of your token."),
        click.option("--label", help="Label of your key on it."),
        click.option("--secret", help="Where passphrase or user PIN comes from: file:PATH or fd:N.  [default: asked]"),
        click.option("--yes", is_flag=True, help="Do not ask again; for scripts whose author has read the document."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def approver_key(
    key_file: Path | None, module: str | None, token: str | None, label: str | None, secret: str | None
) -> ApproverKey:
    """The key that the options name; ends the program with a sentence when they do not."""
    from hsm.approver import TokenKey, read_key_file  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    if (key_file is None) == (module is None) or (module is None) != (token is None or label is None):
        raise click.UsageError("name your key: --key FILE, or --module, --token and --label")
    try:
        if key_file is not None:
            return read_key_file(key_file, secret_of(secret, f"Passphrase of {key_file}"))
        return TokenKey(_opened(Path(str(module)), str(token), secret_of(secret, f"User PIN of {token}")), str(label))
    except SetupError as error:
        stop(error)


def _opened(module: Path, label: str, pin: UserPin) -> Token:
    from hsm.token.pkcs11.place import TokenPlace  # noqa: PLC0415
    from hsm.token.pkcs11.session import Pkcs11Token  # noqa: PLC0415

    # One login at a time of this user's own programs: nobody else can hold the lock of a home.
    return Pkcs11Token(TokenPlace(module=module, label=label, lock=Path.home()), pin)


def secret_of(source: str | None, prompt: str) -> UserPin:
    """A passphrase or user PIN, from where was said, or asked for without echo."""
    from hsm.config import SetupError  # noqa: PLC0415
    from hsm.token.user_pin import UserPin, UserPinError, read_user_pin  # noqa: PLC0415

    if source is None:
        return UserPin(click.prompt(prompt, hide_input=True, err=True))
    try:
        return read_user_pin(source, Path.cwd(), environment="")
    except UserPinError as error:
        raise SetupError(str(error).replace("user_pin", "--secret")) from error


def shown(lines: Iterator[str], *, yes: bool) -> None:
    """Show what is to be signed, and ask unless told not to."""
    for line in lines:
        click.echo(printable(line), err=True)
    if not yes:
        click.confirm("Approve exactly this?", abort=True, err=True)


def signed_by_you(envelope: Envelope, key: ApproverKey, *judges: Approvers) -> Envelope:
    """The document with your signature; ends the program, nothing written, when that would approve nothing.

    Approvals that go are told on stderr.
    """
    from hsm.approver import approve  # noqa: PLC0415 - keeps --help fast
    from hsm.config import SetupError  # noqa: PLC0415

    try:
        made = approve(envelope, key, *judges)
    except SetupError as error:
        stop(error)
    gone = len({each.keyid for each in envelope.signatures} - {each.keyid for each in made.signatures})
    if gone:
        click.echo(f"taken out: {gone} approvals by keys that the trust root does not name", err=True)
    return made


def read_envelope(path: Path) -> Envelope:
    """The document in a file; ends the program when it is none."""
    import given  # noqa: PLC0415
    from trust.dsse import Envelope, EnvelopeError  # noqa: PLC0415
    from trust.printable import plainly  # noqa: PLC0415

    try:
        return Envelope.from_json(given.read(path).strip())
    except OSError as error:
        stop(f"{path}: {plainly(error)}: name the document's file")
    except EnvelopeError as error:
        stop(f"{path}: {error}: name a file that station-signer has made")


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
