"""What people read about an entry that is refused: which one, and what it may be, in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.trust.documents import root
from trust.act import Act
from trust.in_words import in_words
from trust.order import WorkOrder
from trust.root import Root

ROOT = msgspec.to_builtins(root(), builtin_types=(bytes,))
BOSS = {"ada": {"roles": ["boss"], "keys": [b"1"]}}


def said(kind: type[msgspec.Struct], entries: dict[str, Any]) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(entries, kind)
    return in_words(caught.value)


@pytest.mark.parametrize(("changes", "words"), [
    ({"registry_url": "http://x"}, "registry_url: it must be an address that begins with https://"),
    ({"registry_url": 5}, "registry_url: it must be text, not a whole number"),
    ({"environment": "Plant"}, "environment: it must be a name of a-z, 0-9"),
    ({"approvers": BOSS}, "approvers.NAME.roles[0]: 'boss' is none of product-owner, quality, officer"),
    ({"approvers": {"ada": {"roles": [], "keys": [b"1"]}}}, "approvers.NAME.roles: one at least is wanted"),
    ({"approvers": {"Ada X": {"roles": ["officer"], "keys": [b"1"]}}}, "a name in approvers: it must be a name of a-z"),
    ({"thresholds": {"root": 1}}, "thresholds.root: a whole number, 2 at least"),
    ({"stations": {"a": {}}}, "stations.NAME: entry `pin` is missing"),
    ({"regisrty": "x"}, "unknown field `regisrty`: correct its spelling"),
])  # fmt: skip
def test_an_entry_of_a_root(changes: dict[str, Any], words: str) -> None:
    text = said(Root, {**ROOT, **changes})
    assert text.startswith(words)
    assert not any(odd in text for odd in ("$", "regex", "\\A", "[!-~]", "Expected"))


def test_every_pattern_of_what_people_write_has_its_words() -> None:
    """A type with a pattern that is not known here would show it."""
    missing, found = [], 0
    for kind in (Root, WorkOrder, Act):
        for field in msgspec.json.schema_components([kind])[1].values():
            for name, entry in field.get("properties", {}).items():
                if "pattern" not in entry:
                    continue
                found += 1
                error = msgspec.ValidationError(f"Expected `str` matching regex {entry['pattern']!r} - at `$.{name}`")
                if "it must be" not in in_words(error):
                    missing.append((kind.__name__, name))
    assert not missing
    assert found > 20


def test_what_is_not_known_stays_as_it_is() -> None:
    assert in_words(msgspec.ValidationError("something new")) == "something new"
