"""Reads the trust root's file for the station, and says which of two parties has the older one."""

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


def difference(who: str, version: int, sha256: str, ours: TrustedRoot) -> str | None:
    """Why this party cannot work with the station, whose root is `ours`: which is older, and what to do; or None."""
    if sha256 == ours.sha256:
        return None
    text = f"the {who} has trust root version {version}, this station version {ours.root.version}"
    if version < ours.root.version:
        return f"{text}: the {who}'s is the older one. Have it started again with the newest root file."
    if version > ours.root.version:
        return (
            f"{text}: the station's is the older one. Put the newest root file in its place (`root` of the settings)."
        )
    return f"{text}, and they are not the same ({sha256[:16]}…, {ours.sha256[:16]}…). Call the security officer."
