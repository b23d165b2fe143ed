"""Where a signer's things are, from its directory: files by name; its token by module, label, locks and PINs tried.

Loads nothing and logs in to nothing.
"""

from __future__ import annotations

from pathlib import Path

from hsm import config
from hsm.config import SetupError, SignerConfig
from hsm.token import pin_tries, softhsm
from hsm.token.pkcs11.place import TokenPlace

COUNTERS_FILE = "counters.db"
PUBLIC_FILE = "public.json"
TOKEN_LOCK = "token.lock"  # noqa: S105 - a file name
_OWN = (
    config.FILE, config.LOCK, COUNTERS_FILE, PUBLIC_FILE, TOKEN_LOCK, pin_tries.FILE, softhsm.CONF, softhsm.TOKENS,
    "so-pin", "user-pin",
)  # fmt: skip


def require_apart(directory: Path, made: SignerConfig) -> None:
    """The socket is none of the directory's own files, there already or not; SetupError."""
    path = config.socket_path(directory, made)
    place = path.parent.resolve() / path.name
    home = directory.resolve()
    first = place.relative_to(home).parts[:1] if place.is_relative_to(home) else ("elsewhere",)
    for own in _OWN:
        if not first or first[0] == own or first[0].startswith((f"{own}-", f".{own}")):  # SQLite's, and drafts
            text = f"socket path {path} is one of the signer's own files"
            raise SetupError(f"{text}: take another name in signer.toml, such as {config.SOCKET}")


def token_place(directory: Path, made: SignerConfig) -> TokenPlace:
    """The signer's token; points SoftHSM to its directory if it is one. SetupError when something is missing."""
    lock = directory / TOKEN_LOCK
    if made.softhsm_conf:
        softhsm.select(directory / made.softhsm_conf)
        lock = softhsm.tokens_of(directory / made.softhsm_conf)  # another signer may have its token there, too
    return TokenPlace(
        module=softhsm.find_module(made.module),
        label=made.token_label,
        lock=lock,
        profile=made.profile,
        tries=directory / pin_tries.FILE,
    )
