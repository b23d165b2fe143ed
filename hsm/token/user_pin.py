"""The token's password (its *user PIN*) and where it may come from: file, descriptor, environment or credential.

Never from a command line, never in a record, log line or exception; it does not leave `hsm`.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

import given
from hsm.files import what_it_is
from trust.printable import plainly

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 256
_OWNER_ONLY = 0o600


class UserPinError(Exception):
    """The user PIN cannot be read; the text says from where and what to do."""


class UserPin:
    """A user PIN: shows nothing of itself, cannot be formatted, copied or pickled; `reveal` is for the token only."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The PIN itself."""
        return self._text

    def __repr__(self) -> str:
        return "UserPin(…)"

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError("a user PIN is not formatted into text")

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a user PIN is not pickled or copied")


def read_user_pin(source: str, directory: Path, *, environment: str) -> UserPin:
    """The PIN from `file:PATH`, `fd:N`, `cred:NAME` or, in `demo` only, `env:NAME`; UserPinError.

    A relative path is taken from the signer's directory. `cred:` is a file in $CREDENTIALS_DIRECTORY (systemd).
    """
    kind, colon, where = source.partition(":")
    reader = _READERS.get(kind)
    if not colon or not where or reader is None:
        raise UserPinError(f"user_pin {source!r}: use file:PATH, fd:N, env:NAME or cred:NAME")
    if kind == "env":
        _require_demo(environment)
    text = reader(where, directory).rstrip("\r\n")
    if not text:
        raise UserPinError(f"user_pin: {kind}:{where} is empty")
    return UserPin(text)


def _from_file(where: str, directory: Path) -> str:
    path = directory / where
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            text = f"user_pin: {path} is {what_it_is(mode)}, not the file that holds the PIN"
            raise UserPinError(f"{text}: name a plain file of mode 0600")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UserPinError(f"user_pin: cannot open {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(status.st_mode)
            or stat.S_IMODE(status.st_mode) & ~_OWNER_ONLY
            or status.st_uid != os.geteuid()
        ):
            raise UserPinError(
                f"user_pin: {path} must be a plain file of mode 0600 owned by the signer's user: chmod 600 it"
            )
        return _text(file.read(_MAX_BYTES + 1))


def _from_descriptor(where: str, _directory: Path) -> str:
    try:
        with os.fdopen(int(where), "rb") as file:
            return _text(file.read(_MAX_BYTES + 1))
    except (ValueError, OSError) as error:
        raise UserPinError(f"user_pin: cannot read descriptor {where!r}: {plainly(error)}") from error


def _require_demo(environment: str) -> None:
    """As long as a process lives, the kernel shows in /proc/PID/environ what it was started with."""
    if environment != "demo":
        raise UserPinError(
            f"user_pin: env: is taken in environment 'demo' only, not in {environment!r}, as the PIN stays readable in "
            "/proc/PID/environ: use file:PATH or cred:NAME"
        )
    _LOG.warning("user_pin env: stays readable in /proc/PID/environ while this signer runs: for a demo only")


def _from_environment(where: str, _directory: Path) -> str:
    """Removed, so that no child process gets it."""
    value = os.environ.pop(where, None)
    if value is None:
        raise UserPinError(f"user_pin: the environment has no {where}")
    return value


def _from_credential(where: str, _directory: Path) -> str:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials is None or "/" in where:
        raise UserPinError(
            f"user_pin: no credential {where!r}: start the signer from a unit with LoadCredential={where}"
        )
    try:
        return _text(given.read(Path(credentials) / where))
    except OSError as error:
        raise UserPinError(f"user_pin: cannot read credential {where}: {error.strerror}") from error


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UserPinError("user_pin: not UTF-8 text") from None
    if len(raw) > _MAX_BYTES:
        raise UserPinError(f"user_pin: more than {_MAX_BYTES} bytes")
    return text


_READERS: Final[MappingProxyType[str, Callable[[str, Path], str]]] = MappingProxyType(
    {"file": _from_file, "fd": _from_descriptor, "env": _from_environment, "cred": _from_credential}
)
