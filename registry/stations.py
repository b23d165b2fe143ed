"""The stations of a trust root, for people at the registry's console: who is in, since when, drafts of the next one.

A station exists in the root or not at all: the registry has no list of its own. Never approves anything.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

import given
from registry.settings import SetupError
from trust.kinds import ROOT, wrong_kind
from trust.next_root import Draft, with_station, without_station
from trust.printable import plainly, quoted
from trust.root import Root, RootError, StationKeys
from trust.root_file import parse, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One station as the versions of a root tell of it. `until`: the version that left it out, None if it is in."""

    name: str
    since: int
    until: int | None
    keys: StationKeys
    changed: tuple[int, ...]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Purpose → SHA-256 of the key."""
        named = {name: getattr(self.keys, name) for name in StationKeys.__struct_fields__}
        return {name: hashlib.sha256(spki).hexdigest() for name, spki in named.items()}


def stations(file: Path) -> list[Station]:
    """All stations that any version of the root has named, by name; SetupError for a root that cannot be used."""
    data = _root(file)
    try:
        parse(data)
        told = [root for _, root in versions(data)]
    except RootError as error:
        raise SetupError(f"{file}: {error}") from error
    return [_story(name, told) for name in sorted({name for root in told for name in root.stations})]


def enrol(file: Path, name: str, public: Path, out: Path, *, instead: bool = False) -> Draft:
    """Write the root with one version more, which names this station; SetupError."""
    keys = _public(public)
    return _write(out, lambda data: with_station(data, name, keys, instead=instead), file)


def revoke(file: Path, name: str, out: Path) -> Draft:
    """Write the root with one version more, which leaves this station out; SetupError."""
    return _write(out, lambda data: without_station(data, name), file)


def _write(out: Path, make: Callable[[bytes], Draft], file: Path) -> Draft:
    data = _root(file)
    try:
        draft = make(data)
    except RootError as error:
        raise SetupError(f"{file}: {error}") from error
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise SetupError(f"{out}: {plainly(error)}: nothing was written; name a new file") from error
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(draft.data)
    return draft


def _story(name: str, told: list[Root]) -> Station:
    """What the versions, oldest first, tell of a station that one of them at least names."""
    named = [(root.version, root.stations[name]) for root in told if name in root.stations]
    last, keys = named[-1]
    since = last
    while since - 1 in dict(named):
        since -= 1
    here = [(version, each) for version, each in named if version >= since]
    changed = tuple(version for (_, before), (version, each) in pairwise(here) if each != before)
    until = last + 1 if last < told[-1].version else None
    return Station(name=name, since=since, until=until, keys=keys, changed=changed)


def _root(file: Path) -> bytes:
    try:
        data = given.read(file)
    except OSError as error:
        raise SetupError(f"trust root {file}: {plainly(error)}: give the root file with --root") from error
    wrong = wrong_kind(data, ROOT)
    if wrong is not None:
        raise SetupError(f"{file} {wrong}")
    return data


def _public(path: Path) -> StationKeys:
    """A factory signer's `public.json`, as `station-signer init` made it."""
    try:
        told = msgspec.json.decode(given.read(path), type=dict[str, str])
        keys = {purpose: base64.b64decode(spki, validate=True) for purpose, spki in told.items()}
        return msgspec.convert(keys, StationKeys)
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}: give the public.json of the station's signer") from error
    except (msgspec.DecodeError, ValueError) as error:
        text = f"{path} is no public.json of a station's signer: {quoted(error)}"
        raise SetupError(f"{text}: copy it from the signer's directory again") from error
