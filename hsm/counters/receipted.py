"""What a cloud signer has signed receipts for, read from its memory: what a registry's database must still hold.

Reads beside the signer, a few rows at a time, so that it waits for nobody. Never writes, and needs no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from hsm.counters.file import StoreError, looked_at
from trust.receipted import Receipted
from trust.statement import Receipt

_ROWS: Final = 1000
_NEXT: Final = "SELECT rowid, payload FROM statements WHERE kind = 'receipt' AND rowid > ? ORDER BY rowid LIMIT ?"


def receipted(path: Path) -> Iterator[Receipted]:
    """In the order in which they were asked for; StoreError."""
    after = -1
    with looked_at(path) as connection:
        while rows := connection.execute(_NEXT, (after, _ROWS)).fetchall():
            after = rows[-1][0]
            for _, payload in rows:
                try:
                    said = msgspec.json.decode(payload, type=Receipt)
                except msgspec.DecodeError as error:
                    raise StoreError(f"{path}: a receipt cannot be read ({error}): retire this signer") from error
                yield Receipted(
                    statement_sha256=said.statement_sha256, subject=said.subject, device_id=said.device_id,
                    registered_at=said.registered_at,
                )  # fmt: skip
