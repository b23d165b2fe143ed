"""`station-signer init`: make a signer's directory, its soft token, one key a purpose, and its counters.

Or make the keys in a token that the vendor's tools have made. Nothing is ever overwritten. No PIN stands on a command
line. `signer.toml` is written last: without it the directory is not a signer yet.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hsm import config
from hsm.config import SetupError, SignerConfig
from hsm.counters import file as counters
from hsm.files import FileThereError, write_file
from hsm.place import COUNTERS_FILE, PUBLIC_FILE, TOKEN_LOCK, require_apart
from hsm.public_file import public_json
from hsm.purposes import KEYS, RoleName
from hsm.token import TokenError, blank, softhsm
from hsm.token.pkcs11.making import make_keys, set_user_pin
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.user_pin import UserPin, UserPinError, read_user_pin
from trust.identity import IdentityError, parse_name
from trust.printable import plainly

_USER_PIN = "file:user-pin"
_PIN_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """An initialised token of a module whose tokens are not made by us, and where its user PIN comes from."""

    label: str
    user_pin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `init` made: public keys (SPKI DER) by purpose, and by which profile the module was used."""

    keys: Mapping[str, bytes]
    profile: str


def make_signer(
    directory: Path,
    *,
    role: RoleName,
    name: str,
    environment: str,
    module: str | None = None,
    socket: str | None = None,
    token: Existing | None = None,
    profile: str = "",
) -> Made:
    """Make everything, in a soft token of its own or in the token given. SetupError says what to do when it cannot."""
    made = SignerConfig(
        role=role,
        name=name,
        environment=environment,
        token_label=token.label if token else name,
        module=str(softhsm.find_module(module)),
        profile=profile,
        softhsm_conf="" if token else softhsm.CONF,
        user_pin=token.user_pin if token else _USER_PIN,
        socket=socket or config.SOCKET,
    )
    _check(directory, made)
    _claim(directory)
    try:
        return _fill(directory, made)
    except (OSError, TokenError, UserPinError, counters.StoreError, SetupError) as error:
        shutil.rmtree(directory)  # nothing was there before: _claim saw to it
        raise SetupError(f"signer not made, {directory} removed again: {plainly(error)}") from error


def _check(directory: Path, made: SignerConfig) -> None:
    try:
        parse_name(made.name, "signer name")
        parse_name(made.environment, "environment")
    except IdentityError as error:
        raise SetupError(str(error)) from error
    if not 0 < len(made.token_label.encode()) <= 32:  # noqa: PLR2004 - CK_TOKEN_INFO.label
        raise SetupError(f"{made.token_label!r} is the token's label: at most 32 characters")
    kind, _, where = made.user_pin.partition(":")
    if made.user_pin != _USER_PIN and not (kind == "cred" or (kind == "file" and Path(where).is_absolute())):
        raise SetupError("--user-pin says where the user PIN is: file:/an/absolute/path (mode 0600) or cred:NAME")
    require_apart(directory, made)


def _claim(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        taken = any(directory.iterdir())
    except OSError as error:
        raise SetupError(f"{directory} cannot be made: {plainly(error)}: choose another --dir") from error
    if taken:
        raise SetupError(
            f"{directory} is not empty and a signer is never overwritten: choose another --dir, or move this one away "
            "(its keys and counts go with it)"
        )
    directory.chmod(0o750)


def _fill(directory: Path, made: SignerConfig) -> Made:
    _write(directory / TOKEN_LOCK, b"", 0o600)
    if made.softhsm_conf:
        _make_token(directory, made)
    pin = read_user_pin(made.user_pin, directory, environment=made.environment)
    keys, chosen = make_keys(_place(directory, made), pin, KEYS[made.role])
    _write(directory / PUBLIC_FILE, public_json(keys), 0o640)
    counters.create(directory / COUNTERS_FILE, made.owner(keys))
    listening = config.socket_path(directory, made).parent
    listening.mkdir(mode=0o750, parents=True, exist_ok=True)
    _write(directory / config.FILE, config.dump(made).encode(), 0o640)
    return Made(keys=keys, profile=str(chosen))


def _make_token(directory: Path, made: SignerConfig) -> None:
    """A token of this signer's own, with PINs that nobody chose."""
    (directory / softhsm.TOKENS).mkdir(mode=0o700)
    _write(directory / softhsm.CONF, softhsm.conf_text(directory).encode(), 0o640)
    softhsm.select(directory / softhsm.CONF)
    so_pin, user_pin = _new_pin(directory / "so-pin"), _new_pin(directory / "user-pin")
    blank.initialise(Path(made.module), made.token_label, so_pin, made.profile)
    set_user_pin(_place(directory, made), so_pin, user_pin)


def _place(directory: Path, made: SignerConfig) -> TokenPlace:
    return TokenPlace(
        module=Path(made.module), label=made.token_label, lock=directory / TOKEN_LOCK, profile=made.profile
    )


def _new_pin(path: Path) -> UserPin:
    text = secrets.token_hex(_PIN_BYTES)
    _write(path, f"{text}\n".encode(), 0o600)
    return UserPin(text)


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        write_file(path, data, mode)
    except FileThereError as error:
        raise SetupError(str(error)) from error
