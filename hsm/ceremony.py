"""`station-signer init`: make a signer's directory, its soft token, one key a purpose, and its counters.

Nothing is ever overwritten. No PIN stands on a command line. `signer.toml` is written last: without it the directory is
not a signer yet.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from hsm import config
from hsm.config import SetupError, SignerConfig
from hsm.counters import file as counters
from hsm.files import FileThereError, write_file
from hsm.purposes import KEYS, RoleName
from hsm.records import Owner, keys_sha256
from hsm.token import TokenError, blank, softhsm
from hsm.token.pkcs11.making import make_keys
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.user_pin import UserPin
from trust.identity import IdentityError, parse_name
from trust.printable import plainly

PUBLIC_FILE = "public.json"
COUNTERS_FILE = "counters.db"
TOKEN_LOCK = "token.lock"  # noqa: S105 - a file name
_PIN_BYTES = 16


def make_signer(
    directory: Path,
    *,
    role: RoleName,
    name: str,
    environment: str,
    module: str | None = None,
    socket: str | None = None,
) -> Mapping[str, bytes]:
    """Make everything; returns public keys (SPKI DER) by purpose. SetupError says what to do when it cannot."""
    made = _config(directory, role=role, name=name, environment=environment, module=module, socket=socket)
    _claim(directory)
    try:
        return _fill(directory, made)
    except (OSError, TokenError, counters.StoreError, SetupError) as error:
        shutil.rmtree(directory)  # nothing was there before: _claim saw to it
        raise SetupError(f"signer not made, {directory} removed again: {plainly(error)}") from error


def _config(
    directory: Path, *, role: RoleName, name: str, environment: str, module: str | None, socket: str | None
) -> SignerConfig:
    try:
        parse_name(name, "signer name")
        parse_name(environment, "environment")
    except IdentityError as error:
        raise SetupError(str(error)) from error
    if len(name) > 32:  # noqa: PLR2004 - CK_TOKEN_INFO.label
        raise SetupError(f"signer name {name!r} is the token's label too: at most 32 characters")
    made = SignerConfig(
        role=role,
        name=name,
        environment=environment,
        token_label=name,
        module=str(softhsm.find_module(module)),
        softhsm_conf=softhsm.CONF,
        socket=socket or config.SOCKET,
    )
    config.socket_path(directory, made)
    return made


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


def _fill(directory: Path, made: SignerConfig) -> Mapping[str, bytes]:
    (directory / softhsm.TOKENS).mkdir(mode=0o700)
    _write(directory / softhsm.CONF, softhsm.conf_text(directory), 0o640)
    softhsm.select(directory / softhsm.CONF)
    so_pin, user_pin = _new_pin(directory / "so-pin"), _new_pin(directory / "user-pin")
    blank.initialise(Path(made.module), made.token_label, so_pin)
    place = TokenPlace(module=Path(made.module), label=made.token_label, lock=directory / TOKEN_LOCK)
    keys = make_keys(place, so_pin, user_pin, KEYS[made.role])
    _write(directory / PUBLIC_FILE, public_json(keys), 0o640)
    owner = Owner(role=made.role, name=made.name, environment=made.environment, keys_sha256=keys_sha256(keys))
    counters.create(directory / COUNTERS_FILE, owner)
    listening = config.socket_path(directory, made).parent
    listening.mkdir(mode=0o750, parents=True, exist_ok=True)
    _write(directory / config.FILE, config.dump(made), 0o640)
    return keys


def public_json(keys: Mapping[str, bytes]) -> str:
    """Purpose → base64 DER SubjectPublicKeyInfo, for whoever makes the trust root."""
    return (
        json.dumps({purpose: base64.b64encode(spki).decode() for purpose, spki in sorted(keys.items())}, indent=2)
        + "\n"
    )


def _new_pin(path: Path) -> UserPin:
    text = secrets.token_hex(_PIN_BYTES)
    _write(path, f"{text}\n", 0o600)
    return UserPin(text)


def _write(path: Path, text: str, mode: int) -> None:
    try:
        write_file(path, text.encode(), mode)
    except FileThereError as error:
        raise SetupError(str(error)) from error
