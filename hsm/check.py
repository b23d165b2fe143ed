"""What must hold before a signer starts: modes, token, keys and root agree. Refuses with a remedy; repairs nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from hsm import config
from hsm.config import SetupError, SignerConfig
from hsm.listening import lock_of, require_socket_or_nothing
from hsm.place import require_apart
from hsm.purposes import KEYS, Purpose
from hsm.token import Token
from trust.root import RootError, TrustedRoot

_OTHERS = 0o027  # what group may not write, and others may not do at all
_NOT_OWNER = 0o077


def check_places(directory: Path, made: SignerConfig, *, secret: tuple[str, ...]) -> None:
    """Directory and socket directory closed to others, `secret` entries to everybody but the owner; SetupError.

    And where the socket comes, there is nothing else.
    """
    require_apart(directory, made)
    if made.environment != "demo":
        _require_way(directory)
    for path in (directory, config.socket_path(directory, made).parent):
        _require_mode(path, _OTHERS, "0750")
    require_socket_or_nothing(config.socket_path(directory, made))
    secret = (*secret, str(lock_of(config.socket_path(directory, made))))
    for name in (config.FILE, made.softhsm_conf):
        if name:
            _require_mode(directory / name, _OTHERS, "0640")
    for name in secret:
        path = directory / name
        if path.exists():
            _require_mode(path, _NOT_OWNER, "0700" if path.is_dir() else "0600")


def check_root_place(made: SignerConfig, root_file: Path) -> None:
    """At a site nobody but root and the signer's user may write the trust root's file, or put another in its place."""
    if made.environment == "demo":
        return
    _require_way(root_file)
    try:
        status = root_file.stat()
    except OSError as error:
        raise SetupError(f"trust root {root_file}: {error.strerror}: give the root file with --root") from error
    if status.st_uid not in {0, os.geteuid()} or stat.S_IMODE(status.st_mode) & 0o022:
        raise SetupError(f"trust root {root_file}: let only root or the signer's user write it: chmod 0644 {root_file}")


def require_environment(made: SignerConfig, trusted: TrustedRoot) -> None:
    """The root is of the signer's environment; SetupError."""
    if trusted.root.environment != made.environment:
        text = f"the trust root is of environment {trusted.root.environment!r}, this signer of {made.environment!r}"
        raise SetupError(f"{text}: it was made there, with its keys, and stays there")


def check_root(made: SignerConfig, trusted: TrustedRoot, token: Token, keys: Mapping[str, bytes]) -> None:
    """The root is of this environment and names this signer with the very keys of its token; SetupError."""
    root = trusted.root
    if made.environment != "demo" and token.model.startswith("SoftHSM") and not root.soft_tokens:
        text = f"a soft token is not taken in environment {made.environment!r}, whose trust root does not allow it"
        raise SetupError(f"{text}: use a hardware token")
    require_environment(made, trusted)
    try:
        wanted = _factory_keys(trusted, made.name) if made.role == "factory" else _cloud_keys(trusted, made.name)
    except RootError as error:
        raise SetupError(f"{error}: add this signer's public.json to the root, or correct --root") from error
    differing = sorted(purpose for purpose, spki in wanted.items() if keys.get(purpose) != spki)
    if differing:
        text = f"the trust root names other keys than this token's for {', '.join(differing)}"
        raise SetupError(f"{text}: put this signer's public.json into the root, or use the token that belongs to it")


def check_token(made: SignerConfig, token: Token) -> dict[str, bytes]:
    """The token has exactly the keys of this role; returns public keys by purpose. SetupError, TokenError."""
    wanted = {purpose.value for purpose in KEYS[made.role]}
    others = {purpose.value for purpose in Purpose} - wanted
    labels = token.labels()
    if wanted - labels:
        raise SetupError(
            f"token {token.label!r} has no key for {', '.join(sorted(wanted - labels))}: make the signer anew"
        )
    if others & labels:
        text = f"token {token.label!r} holds keys of the other role ({', '.join(sorted(others & labels))})"
        raise SetupError(f"{text}: factory and cloud never share a token")
    return {label: token.public_key(label) for label in sorted(wanted)}


def _factory_keys(trusted: TrustedRoot, name: str) -> dict[str, bytes]:
    station = trusted.root.station(name)
    return {purpose: getattr(station, purpose) for purpose in station.__struct_fields__}


def _cloud_keys(trusted: TrustedRoot, name: str) -> dict[str, bytes]:
    if trusted.root.registry != name:
        raise RootError(f"the trust root's registry is {trusted.root.registry!r}, not {name!r}")
    named = trusted.root.registry_keys
    wanted = {purpose: getattr(named, purpose) for purpose in ("receipt", "revocation", "lease", "roster")}
    wanted["handshake"] = trusted.root.cloud_keys.handshake
    return {purpose: spki for purpose, spki in wanted.items() if spki}  # an empty one is nobody's


def _require_way(place: Path) -> None:
    """Who may rename a directory on the way can put something else in the place; in a sticky one nobody can."""
    for path in sorted({*place.absolute().parents, *place.resolve().parents}):
        try:
            status = path.stat()
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror}: it leads to {place}") from error
        open_to_others = stat.S_IMODE(status.st_mode) & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in {0, os.geteuid()} or open_to_others:
            raise SetupError(f"{path} leads to {place}: let only root or the signer's user write there")


def _require_mode(path: Path, forbidden: int, wanted: str) -> None:
    try:
        status = os.lstat(path)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}: was this signer made with station-signer init?") from error
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & forbidden:
        raise SetupError(f"{path} must belong to the signer's user and be closed to others: chmod {wanted} {path}")
