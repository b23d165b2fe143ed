"""User PINs that were given to the token in vain, on disk: no restart, and no loop of restarts, gives one again.

A try is on disk before the token hears of it. The file (0600) holds salted scrypt digests, no PIN. A refused PIN stays
refused until `user_pin` gives another one, or a person lets it be tried once more (`station-signer retry-pin`). Never
talks to a token.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import given
from hsm.token import TokenError
from hsm.token.user_pin import UserPin
from trust.printable import plainly

FILE = "user-pin.tries"
_SALT_BYTES = 16
_UNANSWERED = 2  # tries without an answer: fewer than any token takes wrong ones
_SCRYPT: dict[str, Any] = {"n": 1 << 14, "r": 8, "p": 1}
_ONCE_MORE = "to have it tried once more: station-signer retry-pin --dir DIR"


class _Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digests of PINs that were refused, and of one whose last tries had no answer."""

    salt: bytes
    refused: tuple[bytes, ...] = ()
    unanswered: bytes = b""
    times: int = 0


@dataclass(slots=True)
class PinTries:
    """The memory of one signer's tries. Without a path it remembers nothing: for init and for trials."""

    path: Path | None
    user_pin: UserPin
    _accepted: bool = False
    _salt: bytes = b""
    _digests: dict[bytes, bytes] = field(default_factory=dict)

    def objection(self, *, wrong_one_counted: bool) -> str | None:
        """Why the PIN must not be given to the token, or None; TokenError when the file cannot be read.

        `wrong_one_counted`: the token says that a wrong PIN was entered since the last right one.
        """
        if self.path is None:
            return None
        known = self._known(self.path)
        digest = self._digest(known.salt)
        if digest in known.refused:
            return f"the token refused it before: correct user_pin; {_ONCE_MORE}"
        if digest != known.unanswered or self._accepted:
            return None
        if wrong_one_counted:
            return f"its last try had no answer, and the token has counted a wrong one: see user_pin; {_ONCE_MORE}"
        if known.times >= _UNANSWERED:
            return f"{known.times} tries had no answer: check token and user_pin; {_ONCE_MORE}"
        return None

    def begin(self) -> None:
        """The token is about to hear the PIN. A crash from here on leaves a try without an answer."""
        if self.path is None:
            return
        known = self._known(self.path)
        digest = self._digest(known.salt)
        again = digest == known.unanswered
        # A PIN that this process has logged in with is right, however often an answer is lost.
        times = max(known.times if again else 0, 1) if self._accepted else 1 + (known.times if again else 0)
        _keep(self.path, msgspec.structs.replace(known, unanswered=digest, times=times))

    def accepted(self) -> None:
        """The token took the PIN."""
        self._accepted = True
        if self.path is not None:
            _keep(self.path, msgspec.structs.replace(self._known(self.path), unanswered=b"", times=0))

    def refused(self) -> None:
        """The token refused the PIN."""
        self._accepted = False
        if self.path is None:
            return
        known = self._known(self.path)
        refused = (*known.refused, self._digest(known.salt))
        _keep(self.path, msgspec.structs.replace(known, refused=refused, unanswered=b"", times=0))

    def _known(self, path: Path) -> _Known:
        if not self._salt:
            self._salt = secrets.token_bytes(_SALT_BYTES)
        if not path.exists():
            return _Known(salt=self._salt)
        try:
            return msgspec.json.decode(given.read(path), type=_Known)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TokenError(
                f"{path}: {plainly(error)}: which user PINs were refused is not known; see user_pin, then "
                "station-signer retry-pin --dir DIR"
            ) from error

    def _digest(self, salt: bytes) -> bytes:
        if salt not in self._digests:
            self._digests[salt] = hashlib.scrypt(self.user_pin.reveal().encode(), salt=salt, **_SCRYPT)
        return self._digests[salt]


def forget(directory: Path) -> bool:
    """Let every PIN be tried once more: a person has seen to it. Whether there was one to forget; OSError."""
    there = (directory / FILE).exists()
    (directory / FILE).unlink(missing_ok=True)
    return there


def _keep(path: Path, known: _Known) -> None:
    try:
        if known.refused or known.unanswered:
            _replace(path, msgspec.json.encode(known))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TokenError(f"{path}: {plainly(error)}: no user PIN is tried without it; free the disk") from error


def _replace(path: Path, data: bytes) -> None:
    """The whole file or none of it, durable, for the owner only."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
