"""What a validator says of an entry that people wrote, in their words: which entry, and what it may be.

Pure. Says nothing new: an entry that is refused stays refused, and a text that is not known here stays as it is.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final, get_args

from trust.approval import Role
from trust.printable import quoted
from trust.statement import KeyTypeName, Origin, Waiver

_AT: Final = re.compile(r" - at `\$\.?([^`]*)`\Z")
_KEY_AT: Final = re.compile(r" - at `key` in `\$\.?([^`]*)`\Z")
_PATTERN: Final = re.compile(r"Expected `str` matching regex '(.*)'\Z", re.DOTALL)
# By how a pattern begins: what the text types of `trust.statement`, `trust.root` and `trust.order` take.
_PATTERNS: Final = (
    (r"\\Ahttps://", "an address that begins with https:// and has no spaces, 200 characters at most"),
    (r"\\A[0-9a-f]{64}", "64 digits of 0-9 and a-f (a SHA-256)"),
    (r"\\A([0-9a-f]{64})?", "64 digits of 0-9 and a-f (a SHA-256), or empty"),
    (r"\\A[0-9a-f]{24}", "24 digits of 0-9 and a-f (a device id)"),
    (r"\\A[0-9]{4}-", "a time in UTC such as 2026-01-31T06:00:00Z"),
    (r"\\A([0-9]{4}-", "a time in UTC such as 2026-01-31T06:00:00Z, or empty"),
    (r"\\A([a-z0-9]", "a name of a-z, 0-9, dots, dashes and underscores between them, or empty"),
    (r"\\A[a-z0-9]", "a name of a-z, 0-9, and dots, dashes and underscores between them, 64 characters at most"),
    (r"\\A[!-~]{1,63}", "a host's name without spaces, 63 characters at most"),
)
_CHOICES: Final = MappingProxyType(
    {
        "roles": get_args(Role),
        "origins": get_args(Origin),
        "key_type": get_args(KeyTypeName),
        "service": ("tcp", "udp"),
        "label": ("none",),
        "vetting": ("basic", "legacy-rsa-1024"),
        "handshakes": ("tcp", "udp"),
        "handshake_waivers": get_args(Waiver),
        "role": ("factory", "cloud"),
    }
)
_WORDS: Final = (
    (re.compile(r"Expected `array` of length >= 1\Z"), "one at least is wanted"),
    (re.compile(r"Expected `array` of length >= ([0-9]+)\Z"), r"\1 at least are wanted"),
    (re.compile(r"Expected `array` of length <= ([0-9]+)\Z"), r"\1 at most are taken"),
    (re.compile(r"Expected `str` of length >= ([0-9]+)\Z"), r"it has \1 characters at least"),
    (re.compile(r"Expected `str` of length <= ([0-9]+)\Z"), r"it has \1 characters at most"),
    (re.compile(r"Expected `int` >= (-?[0-9]+)\Z"), r"a whole number, \1 at least"),
    (re.compile(r"Expected `int` <= (-?[0-9]+)\Z"), r"a whole number, \1 at most"),
    (re.compile(r"Object missing required field `([^`]*)`\Z"), r"entry `\1` is missing"),
    (re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL), r"unknown field `\1`: correct its spelling"),
)
_TYPES: Final = MappingProxyType(
    {"str": "text", "int": "a whole number", "bool": "true or false", "array": "a list", "object": "a table"}
)
_TYPE: Final = re.compile(r"Expected `(\w+)`, got `(\w+)`\Z")


def in_words(error: Exception) -> str:
    """The validator's sentence for people; at most some 300 characters, printable."""
    text = str(error)
    at_key, at = _KEY_AT.search(text), _AT.search(text)
    found = at_key or at
    where = "" if found is None else found[1].replace("[...]", ".NAME")
    said = text if found is None else text[: found.start()]
    prefix = f"{where}: " if where else ""
    if at_key:
        prefix = f"a name in {where}: "
    return quoted(prefix + _said(said, where))


def _said(said: str, where: str) -> str:
    pattern = _PATTERN.match(said)
    if pattern:
        return next((f"it must be {words}" for begins, words in _PATTERNS if pattern[1].startswith(begins)), said)
    wrong_type = _TYPE.match(said)
    if wrong_type:
        wanted, got = (_TYPES.get(each, each) for each in wrong_type.groups())
        return f"it must be {wanted}, not {got}"
    if said.startswith("Invalid enum value"):
        choices = _CHOICES.get(re.sub(r"\[[0-9]+\]\Z", "", where).rpartition(".")[2])
        value = said.removeprefix("Invalid enum value ")
        return said if choices is None else f"{value} is none of {', '.join(choices)}"
    for known, words in _WORDS:
        if known.match(said):
            return known.sub(words, said)
    return said
