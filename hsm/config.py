"""`signer.toml`: what one signer directory is. Written once by `station-signer init`, read at every start.

Names no trusted key: that is the trust root's alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

import given
from hsm.purposes import RoleName
from hsm.records import Owner, keys_sha256
from trust.in_words import in_words
from trust.printable import plainly
from trust.statement import Name
from trust.toml_text import TomlError, table

FILE = "signer.toml"
SOCKET = "run/signer.sock"
LOCK = "serving.lock"
_MAX_SOCKET_PATH = 107  # sun_path holds 108 bytes with its NUL (unix(7))


class SetupError(Exception):
    """The signer cannot start or be made; the text says why and what to do next."""


class SignerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signer. Relative paths are taken from its directory; `allowed_uids` may connect besides its own user.

    `device_service_uids`, a cloud signer's: who may ask for handshakes instead of them (hsm.peers); None: the same.
    `profile` names the kind of PKCS#11 module where the token itself is not to decide (docs/modules.md).
    `may_swap` lets it start in a site environment although its memory cannot be locked.
    """

    role: RoleName
    name: Name
    environment: Name
    token_label: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    module: str
    profile: str = ""
    softhsm_conf: str = ""
    user_pin: str = "file:user-pin"
    socket: str = SOCKET
    allowed_uids: tuple[int, ...] = ()
    device_service_uids: tuple[int, ...] | None = None
    may_swap: bool = False

    def owner(self, keys: Mapping[str, bytes]) -> Owner:
        """Whose counters are this signer's while its token has these public keys (SPKI DER by purpose)."""
        return Owner(role=self.role, name=self.name, environment=self.environment, keys_sha256=keys_sha256(keys))


def load(directory: Path) -> SignerConfig:
    """The signer's configuration; SetupError when it is missing or malformed."""
    path = directory / FILE
    try:
        made = msgspec.convert(table(given.read(path)), SignerConfig)
    except FileNotFoundError as error:
        raise SetupError(
            f"{path} is not there: correct --dir, or make the signer first (station-signer init --help says how)"
        ) from error
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}: let the signer's user read it, or restore it") from error
    except TomlError as error:
        raise SetupError(f"{path} {error}: restore it") from error
    except msgspec.ValidationError as error:
        raise SetupError(f"{path}: {in_words(error)}; correct the entry, or restore the file") from error
    if made.role == "factory" and made.device_service_uids is not None:
        raise SetupError(f"{path}: device_service_uids is for a cloud signer, and this is a station's: take it out")
    return made


def dump(config: SignerConfig) -> str:
    """The file's text; strings, lists of numbers and booleans are spelled the same in JSON and TOML."""
    entries = msgspec.to_builtins(config)
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items() if value is not None)
    return f"# Written by station-signer init. Holds no secret and no trusted key.\n{lines}"


def socket_path(directory: Path, config: SignerConfig) -> Path:
    """Where the signer listens; SetupError when the system cannot hold so long a path."""
    path = directory.absolute() / config.socket
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise SetupError(f"socket path {path} is longer than {_MAX_SOCKET_PATH} bytes: use a shorter --dir or --socket")
    return path


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One serving process a directory, so that a socket left behind by a crash is nobody's."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(f"another process serves {directory}: stop it first") from error
        yield
