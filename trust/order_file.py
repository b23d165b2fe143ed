"""A work order as people write it: plain TOML, read into the one form that everybody else knows.

Text in, envelope without approvals out: opens no file, and never says whether anything may be made under it. Whatever
the text holds, hostile or mistyped, it ends in one sentence that says what to correct.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trust import toml_text
from trust.dsse import Envelope
from trust.in_words import in_words
from trust.keys import PublicKey, PublicKeyError
from trust.order import OrderError, WorkOrder
from trust.order_check import check
from trust.printable import quoted
from trust.statement import envelope
from trust.toml_text import TomlError

MAX_FILE_BYTES = 65_536  # the order, with room for comments
_SET_HERE = frozenset({"environment", "root_sha256", "type", "v"})  # by this reader, never by the file
_CORRECT = "correct the order file, then read it again"


def from_toml(text: str | bytes, *, environment: str, root_sha256: str) -> Envelope:
    """A plain TOML order (bytes are UTF-8) as an envelope without signatures, made for this environment and root.

    Keys are given as PEM. Raises OrderError naming the entry, and nothing else, whatever the file holds.
    """
    table = _table(text)
    _require_own_entries(table)
    ours = {"environment": environment, "root_sha256": root_sha256, "v": 1, "type": "order"}
    try:
        order = msgspec.convert({**table, **_keys(table), **ours}, WorkOrder, strict=True)
    except msgspec.ValidationError as error:
        raise OrderError(f"order: {in_words(error)}; {_CORRECT}") from error
    check(order)
    return envelope(order)


def _table(text: str | bytes) -> dict[str, Any]:
    if len(text) > MAX_FILE_BYTES:
        size = f"{len(text)} bytes" if isinstance(text, bytes) else f"{len(text)} characters"
        raise OrderError(f"order file of {size}, at most {MAX_FILE_BYTES} are taken; give the order's file")
    try:
        return toml_text.table(text)
    except TomlError as error:
        raise OrderError(f"order {error}; {_CORRECT}") from error


def _require_own_entries(table: dict[str, Any]) -> None:
    """Refuse what the reader sets, so that a file cannot seem to say where it belongs, and what no order has."""
    for name in sorted(table):
        shown = quoted(name)
        if name in _SET_HERE:
            raise OrderError(f"order entry `{shown}`: the station says this itself; take the entry out of the file")
        if name not in WorkOrder.__struct_fields__:
            raise OrderError(f"order: unknown field `{shown}`; take it out of the file or correct its spelling")


def _keys(table: dict[str, Any]) -> dict[str, bytes]:
    keys = {}
    for name in ("cloud_key", "authority_key"):
        pem = table.get(name)
        if not isinstance(pem, str):
            raise OrderError(f"order entry {name}: expected a PEM public key as text; {_CORRECT}")
        try:
            keys[name] = PublicKey.from_pem(pem).spki
        except PublicKeyError as error:
            raise OrderError(f"order entry {name}: {quoted(error)}; {_CORRECT}") from error
    return keys
