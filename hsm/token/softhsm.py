"""SoftHSM: where its module is, and its configuration inside the signer's own directory.

A soft token is for demo and development; a site's root must allow it. Never touches keys.
"""

from __future__ import annotations

import os
from pathlib import Path

import given
from hsm.config import SetupError
from trust.printable import plainly

CONF = "softhsm2.conf"
TOKENS = "tokens"
KNOWN_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def find_module(setting: str | None, known: tuple[str, ...] = KNOWN_MODULES) -> Path:
    """The PKCS#11 module: the one that was set, else the first known place that has one; SetupError."""
    if setting:
        if not Path(setting).is_file():
            raise SetupError(f"PKCS#11 module {setting} is not there: correct --module")
        return Path(setting)
    for place in known:
        if Path(place).is_file():
            return Path(place)
    raise SetupError(f"no SoftHSM module in {' or '.join(known)}: apt install softhsm2, or name a module with --module")


def conf_text(directory: Path) -> str:
    """SoftHSM's configuration for the token directory inside this signer's directory."""
    tokens = (directory / TOKENS).absolute()
    lines = (
        f"directories.tokendir = {tokens}",
        "objectstore.backend = file",
        "log.level = ERROR",
        "slots.removable = false",
    )
    return "".join(f"{line}\n" for line in lines)


def tokens_of(conf: Path) -> Path:
    """The directory of tokens that a configuration names: what all signers share who use it. SetupError."""
    try:
        lines = given.read(conf).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{conf}: {plainly(error)}: restore it") from error
    named = [value.strip() for key, is_there, value in (each.partition("=") for each in lines) if is_there
             and key.strip() == "directories.tokendir"]  # fmt: skip
    if not named or not Path(named[-1]).is_dir():
        raise SetupError(f"{conf}: directories.tokendir names no directory: restore it")
    return Path(named[-1])


def select(conf: Path) -> None:
    """Point SoftHSM to this configuration. Must come before the module is loaded: it is read once."""
    os.environ["SOFTHSM2_CONF"] = str(conf.absolute())
