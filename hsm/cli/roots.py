"""Reading the trust root's file for a command; whatever is wrong ends the program with one sentence."""

from __future__ import annotations

from pathlib import Path

import given
from hsm.cli.asking import stop
from trust.printable import plainly
from trust.root import RootError, TrustedRoot
from trust.root_file import parse


def trusted_root(path: Path) -> TrustedRoot:
    """The root, approved as it must be."""
    try:
        return parse(given.read(path))
    except OSError as error:
        stop(f"trust root {path}: {plainly(error)}: give the root's file with --root")
    except RootError as error:
        stop(f"trust root {path}: {error}")
