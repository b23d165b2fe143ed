"""Where a signer's things are, from its directory: files by name; its token by module, label, locks and PINs tried.

Loads nothing and logs in to nothing.
"""

from __future__ import annotations

from pathlib import Path

from hsm.config import SignerConfig
from hsm.token import pin_tries, softhsm
from hsm.token.pkcs11.place import TokenPlace

COUNTERS_FILE = "counters.db"
PUBLIC_FILE = "public.json"
TOKEN_LOCK = "token.lock"  # noqa: S105 - a file name


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
