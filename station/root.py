"""Reads the trust root's file for the station."""

from __future__ import annotations

from pathlib import Path

import given
from station.faults import fault
from trust.kinds import ROOT, wrong_kind
from trust.root import RootError, TrustedRoot
from trust.root_file import parse


def load_root(path: Path) -> TrustedRoot:
    """The trust root; the fault `setup` when it is missing or cannot be used."""
    try:
        data = given.read(path)
    except OSError as error:
        raise fault(
            "setup", f"trust root {path}: {error.strerror}; put it there, or correct `root` in the settings"
        ) from error
    if (wrong := wrong_kind(data, ROOT)) is not None:
        raise fault("setup", f"{path} {wrong}, or correct `root` in the settings")
    try:
        return parse(data)
    except RootError as error:
        raise fault("setup", f"trust root {path}: {error}") from error
