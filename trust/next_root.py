"""The trust root's next version, drafted from its file: a station more, a station with other keys, a station less.

Pure: bytes in, bytes out. A draft is nobody's word: officers approve it, by the rules of `trust.root_file`, or it is
worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from trust.dsse import Envelope
from trust.root import Root, RootError, StationKeys
from trust.root_file import parse, require_next, versions, wrap


@dataclass(frozen=True, slots=True)
class Draft:
    """The whole file with one more version, not approved yet, and that version."""

    data: bytes
    envelope: Envelope
    root: Root


def with_station(previous: bytes, name: str, keys: StationKeys, *, instead: bool = False) -> Draft:
    """The root with this station; RootError. `instead`: it is there already, with other keys."""
    before, root = _newest(previous)
    known = root.stations.get(name)
    if known == keys:
        raise RootError(f"the trust root names station {name!r} with these keys already")
    if known is not None and not instead:
        raise RootError(
            f"the trust root names station {name!r} with other keys: say so if these are to take their place"
        )
    if known is None and instead:
        raise RootError(f"the trust root names no station {name!r} whose keys could be replaced")
    return _draft(previous, before, root, {**root.stations, name: keys})


def without_station(previous: bytes, name: str) -> Draft:
    """The root without this station; RootError."""
    before, root = _newest(previous)
    root.station(name)
    return _draft(previous, before, root, {other: each for other, each in root.stations.items() if other != name})


def _newest(previous: bytes) -> tuple[Envelope, Root]:
    """The newest version of a root that may be used: nothing is drafted on what is not approved."""
    if not parse(previous).signed:
        raise RootError("this trust root is unsigned: nobody can approve a next version of it; make it anew")
    return versions(previous)[-1]


def _draft(previous: bytes, before: Envelope, root: Root, stations: dict[str, StationKeys]) -> Draft:
    following = {"version": root.version + 1, "previous_sha256": before.payload_sha256, "stations": stations}
    try:
        made = msgspec.convert(
            msgspec.to_builtins(msgspec.structs.replace(root, **following), builtin_types=(bytes,)), Root
        )
    except msgspec.ValidationError as error:
        raise RootError(f"trust root: {error}") from error
    require_next(made, (before, root))
    envelope = wrap(made)
    return Draft(previous.strip() + b"\n" + envelope.to_json() + b"\n", envelope, made)
