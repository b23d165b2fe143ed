"""Documents as people read them before they approve: every field, keys as fingerprints. Formats only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from trust.approval import ApprovalError, Approvers, approvals
from trust.dsse import Envelope

_BLANKS: Final = re.compile(" {2,}")  # enough of them, and a text goes on in what looks like the next line


def fields(document: msgspec.Struct) -> Iterator[str]:
    """A line a field; nested ones by their path."""
    yield from _fields("", msgspec.to_builtins(document, builtin_types=(bytes,)))


def approved_by(envelope: Envelope, approvers: Approvers) -> Iterator[str]:
    """Who has approved so far."""
    try:
        given = approvals(envelope, approvers)
    except ApprovalError as error:
        yield f"approvals         do not hold: {error}"
        return
    for each in given:
        yield f"approved by       {each.person} ({', '.join(sorted(each.roles))})"
    if not given:
        yield "approved by       nobody yet"


def _fields(path: str, value: Any) -> Iterator[str]:
    match value:
        case dict():
            for name, each in value.items():
                yield from _fields(f"{path}.{name}" if path else str(name), each)
            if not value:
                yield f"{path:<17} none"
        case list() | tuple() if any(isinstance(each, dict | bytes) for each in value):
            for number, each in enumerate(value, 1):
                yield from _fields(f"{path}[{number}]", each)
        case list() | tuple():
            yield f"{path:<17} {', '.join(str(each) for each in value) or 'none'}"
        case bytes():
            yield f"{path:<17} {'SHA-256 ' + hashlib.sha256(value).hexdigest() if value else 'none'}"
        case "":
            yield f"{path:<17} none"
        case str():
            yield f"{path:<17} {_BLANKS.sub(lambda found: '·' * len(found[0]), value)}"
        case _:
            yield f"{path:<17} {value}"
