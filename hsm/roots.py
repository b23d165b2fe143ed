"""The root that a signer serves: read from its file, and never older than the newest that this signer took up."""

from __future__ import annotations

from pathlib import Path

import given
from hsm.config import SetupError
from hsm.counters import Counters
from hsm.place import PUBLIC_FILE
from hsm.public_file import read_public_file
from trust.kinds import ROOT, wrong_kind
from trust.printable import plainly
from trust.root import RootError, Seen, TrustedRoot, must_follow
from trust.root_file import parse


def read_root(path: Path) -> TrustedRoot:
    """The root in the file; SetupError."""
    try:
        data = given.read(path)
    except OSError as error:
        raise SetupError(f"trust root {path}: {plainly(error)}: give the root file with --root") from error
    wrong = wrong_kind(data, ROOT)
    if wrong is not None:
        raise SetupError(f"{path} {wrong}: the root file, with --root")
    try:
        return parse(data)
    except RootError as error:
        raise SetupError(f"trust root {path}: {error}") from error


def read_known_root(path: Path, sha256: str) -> TrustedRoot:
    """The root in the file, if it has the fingerprint that somebody was told by another way; SetupError."""
    trusted = read_root(path)
    if trusted.sha256 != sha256.lower():
        text = f"the root's fingerprint is {trusted.sha256}, not {sha256[:64]}"
        raise SetupError(f"{text}: compare it with what an officer tells you, by another way than the file came")
    return trusted


def take_up(counters: Counters, trusted: TrustedRoot, now: int, *, first: bool) -> None:
    """Remember a root that is newer than the newest seen; SetupError for an older one, or another's.

    `first`: whether it may be the first one that is seen. Outside `demo` only an import by fingerprint may say so.
    """
    root, seen = trusted.root, counters.root_seen()
    if seen is None and not first:
        text = f"no trust root was taken up by this signer yet; the one given has the fingerprint {trusted.sha256}"
        raise SetupError(f"{text}. Compare it with the ceremony's minutes, then: station-signer root import --help")
    try:
        newer = must_follow(trusted, seen)
    except RootError as error:
        raise SetupError(str(error)) from error
    if newer:
        counters.take_up_root(Seen(root.version, trusted.sha256), now)


def public_keys(directory: Path) -> dict[str, bytes]:
    """The signer's public keys by purpose, from its `public.json`; SetupError."""
    return read_public_file(directory / PUBLIC_FILE, "restore it")
