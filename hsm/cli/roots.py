"""Reading the trust root's file for a command; whatever is wrong ends the program with one sentence."""

from __future__ import annotations

from pathlib import Path

from hsm.cli.asking import stop
from hsm.config import SetupError
from hsm.roots import read_root
from trust.root import TrustedRoot


def trusted_root(path: Path) -> TrustedRoot:
    """The root, approved as it must be."""
    try:
        return read_root(path)
    except SetupError as error:
        stop(error)
